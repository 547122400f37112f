"""Delivery of mails: one task takes them from the outbox to the server, a session for several at a time.

When the server cannot be reached, or a session fails, all mails wait, at first for some seconds. A mail that the server
does not take now is tried again, later each time; one that it will never take has failed, and so has one that was not
taken for two days. The result of each mail is recorded before the next is sent. If the disk does not take the result,
no other mail leaves the outbox until it does, so that none is sent twice; urgent mails, which are in memory, go on.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import trio

from hub import StorageError
from hub.parsing.spellings import email_address, mailbox
from plugins.notify.mail import compose
from plugins.notify.outbox import BATCH, Mail, MailState, Outbox
from plugins.notify.smtp import MailRefused, ServerProblem, SmtpSession

if TYPE_CHECKING:
    from hub import Hub

log = logging.getLogger(__name__)

M = TypeVar("M")

#: Mails of one session: many servers allow no more than a hundred.
MAX_PER_SESSION = 50
#: Urgent mails in memory; one more is rejected.
MAX_HELD = 100
#: Failed sessions, one after the other, that raise the alarm.
FAILURES_OF_ALARM = 3
#: The id of that alarm, which is not mailed.
ALARM = "mail"


@attrs.frozen
class MailTimeouts:
    """Seconds of the delivery of mails."""

    #: For each read and write, for opening a session, and for one mail.
    step: float = 60.0
    session: float = 50.0
    mail: float = 180.0
    #: For ending a session, and at a stop of the hub for the mail that is being sent.
    quit: float = 5.0
    stop: float = 1.0
    #: Until the next session after a failed one, and until the next attempt with a mail; the last value repeats.
    server_retry: tuple[float, ...] = (10.0, 60.0, 300.0, 900.0)
    mail_retry: tuple[float, ...] = (60.0, 300.0, 900.0, 3600.0, 7200.0, 14400.0)
    #: Until a mail is given up.
    give_up: float = 2 * 86_400.0
    #: Until the disk has taken a mail.
    store: float = 10.0
    #: Between two looks for mails that are due.
    poll: float = 30.0


class MailServer:
    """The server of ``[mail]``, from trio: each step of a session runs in a thread, and is aborted after a deadline."""

    def __init__(self, hub: Hub, timeouts: MailTimeouts) -> None:
        self.settings = hub.config.mail
        self.timeouts = timeouts
        self.hub_name = hub.config.hub.name
        # One for the delivery, and one for a test. A thread that was abandoned counts until it has ended.
        self._limiter = trio.CapacityLimiter(2)
        self._sessions: set[SmtpSession] = set()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[MailSession]:
        """Open a session for the length of the block. Raises `ServerProblem`."""
        session = SmtpSession(self.settings, self.timeouts.step)
        self._sessions.add(session)
        try:
            await self.step(session, self.timeouts.session, session.open)
            yield MailSession(self, session)
            # All mails were answered: whether the server says goodbye too does not matter.
            with suppress(ServerProblem):
                await self.step(session, self.timeouts.quit, session.close)
        except BaseException:
            session.abort()
            raise
        finally:
            self._sessions.discard(session)

    def abort(self) -> None:
        """End all sessions."""
        for session in self._sessions:
            session.abort()

    async def step(self, session: SmtpSession, deadline: float, fn: Callable[..., None], *args: Any) -> None:
        """Run a step of a session in a thread. Raises `ServerProblem` after a deadline, and what ``fn`` raises."""
        with trio.move_on_after(deadline):
            try:
                await trio.to_thread.run_sync(session.run, fn, *args, abandon_on_cancel=True, limiter=self._limiter)
                return
            except trio.Cancelled:
                session.abort()
                raise
        raise ServerProblem(f"{self.settings.server}: it did not answer within {deadline:.0f} s")


class MailSession:
    """An open session with the server."""

    def __init__(self, server: MailServer, session: SmtpSession) -> None:
        self._server = server
        self._session = session

    async def send(self, mail: Mail) -> None:
        """Send a mail. Raises `MailRefused`, and `ServerProblem` when the session has failed."""
        await self._server.step(self._session, self._server.timeouts.mail, self._send, mail)

    def _send(self, mail: Mail) -> None:
        settings = self._server.settings
        try:
            message = compose(mail, self._server.hub_name, settings.from_)
        except ValueError as error:
            raise MailRefused(str(error), permanent=True) from error
        self._session.send(message, mailbox(settings.from_)[1], email_address(mail.address))


@attrs.define(eq=False)
class _Held:
    """An urgent mail that is only in memory, and the time of the monotonic clock before which it is not tried."""

    mail: Mail
    not_before: float = 0.0


class Delivery:
    """Delivers the mails of the outbox, until cancelled (`run`)."""

    def __init__(self, hub: Hub, outbox: Outbox, timeouts: MailTimeouts) -> None:
        self._hub = hub
        self._clock = hub.clock
        self._outbox = outbox
        self._timeouts = timeouts
        self._server = MailServer(hub, timeouts)
        self._held: list[_Held] = []
        #: Users who were erased since mails were last read from the outbox.
        self._erased: set[int] = set()
        #: Results that the disk did not take yet, by the ids of their mails: (state, error, due).
        self._results: dict[int, tuple[MailState, str, int]] = {}
        #: Failed sessions since the server last answered about a mail, and the time before which none is opened.
        self._failures = 0
        self._not_before = -math.inf
        #: When mails are given up next.
        self._next_expiry = -math.inf
        #: Held while a mail is sent and its result is recorded.
        self._attempting = trio.Lock()
        #: Whether the last round could read and write the outbox.
        self._disk_answers = True
        self._woken = trio.Event()

    def wake(self) -> None:
        """Look for mails that are due, now."""
        self._woken.set()

    def hold(self, mail: Mail) -> bool:
        """Keep an urgent mail in memory until it is sent; return whether there was space."""
        if len(self._held) >= MAX_HELD:
            return False
        self._held.append(_Held(mail))
        return True

    def forget_user(self, user_id: int) -> None:
        """Do not send the mails to a user any more that are in memory."""
        self._erased.add(user_id)
        self._held = [held for held in self._held if held.mail.user != user_id]

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stop)
            while True:
                wait = await self._round()
                with trio.move_on_after(wait):
                    await self._woken.wait()
                self._woken = trio.Event()

    async def _stop(self) -> None:
        """When cancelled, let the mail that is being sent arrive, but not for long: else it is sent once more later."""
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(self._timeouts.stop, shield=True):
                async with self._attempting:
                    pass
            self._server.abort()

    async def test(self, mail: Mail) -> None:
        """Send a mail past the outbox. Raises `MailRefused`, `ServerProblem`."""
        with trio.move_on_after(self._timeouts.session):
            async with self._server.session() as session:
                await session.send(mail)
            self._server_answered()
            self._not_before = -math.inf
            self.wake()
            return
        raise ServerProblem(f"{self._hub.config.mail.server}: it did not finish within {self._timeouts.session:.0f} s")

    # -- one round ------------------------------------------------------------------------------------------------

    async def _round(self) -> float:
        """Deliver what is due; return the seconds until the next round."""
        now, mails = self._clock.monotonic(), []
        try:
            await self._write_results()
            await self._give_up()
            if now >= self._not_before:
                self._erased.clear()
                latest_due = self._clock.now() + round(1000 * self._timeouts.mail_retry[-1])
                mails = await self._outbox.due(MAX_PER_SESSION, latest_due)
            self._disk_answers = True
        except StorageError as error:
            self._disk_failed(error)
        if now < self._not_before:
            return min(self._timeouts.poll, self._not_before - now)
        held = [held for held in self._held if held.not_before <= now]
        if not held and not mails:
            return self._timeouts.poll
        await self._deliver(held, mails)
        return 0.0

    async def _give_up(self) -> None:
        """Let mails fail that were not taken for too long; never by a clock that may be wrong."""
        now, give_up = self._clock.monotonic(), self._timeouts.give_up
        if now < self._next_expiry or not self._clock.believable:
            return
        before = self._clock.now() - round(1000 * give_up)
        self._held = [held for held in self._held if held.mail.created >= before]
        if self._outbox.waiting:
            number = await self._outbox.give_up(before, f"given up after {give_up / 86_400:.0f} days: ")
            if number:
                log.warning("mail: %d mails were given up after %.0f days", number, give_up / 86_400)
            if number == BATCH:
                return
        self._next_expiry = now + self._timeouts.poll

    async def _deliver(self, held: list[_Held], mails: list[Mail]) -> None:
        """Deliver mails in one session."""
        try:
            async with self._server.session() as session:
                for urgent in held:
                    await self._complete(self._attempt_held, session, urgent)
                for mail in mails:
                    await self._complete(self._attempt, session, mail)
                    if self._results:
                        return
        except _SessionFailed as error:
            self._server_failed(str(error))
        except ServerProblem as error:
            self._server_failed(str(error))
            # Without the disk, the log of the hub has the reason.
            with suppress(StorageError):
                await self._outbox.note(mails, str(error))

    async def _complete(
        self, attempt: Callable[[MailSession, M], Awaitable[None]], session: MailSession, mail: M
    ) -> None:
        """Complete an attempt even if the hub stops; `_stop` limits the time for that."""
        async with self._attempting:
            with trio.CancelScope(shield=True):
                await attempt(session, mail)

    async def _attempt_held(self, session: MailSession, held: _Held) -> None:
        """Try to deliver a mail that is only in memory."""
        mail = held.mail
        try:
            await session.send(mail)
        except MailRefused as error:
            self._server_answered()
            if error.permanent:
                log.warning("mail: a mail of the kind %s was not sent", mail.kind)
                self._drop_held(held)
            else:
                held.not_before = self._clock.monotonic() + self._timeouts.mail_retry[0]
        except ServerProblem as error:
            raise _SessionFailed(str(error)) from error
        else:
            self._server_answered()
            self._drop_held(held)

    def _drop_held(self, held: _Held) -> None:
        self._held = [other for other in self._held if other is not held]

    async def _attempt(self, session: MailSession, mail: Mail) -> None:
        """Try to deliver a mail of the outbox, and record the result."""
        if mail.user in self._erased:
            return
        try:
            await session.send(mail)
        except MailRefused as error:
            self._server_answered()
            await self._record(mail, MailState.FAILED if error.permanent else MailState.WAITING, str(error))
        except ServerProblem as error:
            # It may be because of this mail: the others are tried before it is tried again.
            await self._record(mail, MailState.WAITING, str(error))
            raise _SessionFailed(str(error)) from error
        else:
            self._server_answered()
            await self._record(mail, MailState.SENT, "")

    async def _record(self, mail: Mail, state: MailState, error: str) -> None:
        retry = self._timeouts.mail_retry
        due = self._clock.now() + round(1000 * retry[min(mail.attempts, len(retry) - 1)])
        if state is MailState.FAILED:
            log.warning("mail %d of the kind %s was not sent (pinwheel mail log)", mail.id, mail.kind)
        self._results[mail.id] = state, error, due
        try:
            await self._write_results()
        except StorageError as problem:
            self._disk_failed(problem)

    def _disk_failed(self, error: StorageError) -> None:
        """Log that mails wait for the disk: once, until it answers."""
        if self._disk_answers:
            log.warning("mails wait, because the disk does not take or give what is known about them: %s", error)
        self._disk_answers = False

    async def _write_results(self) -> None:
        for mail_id, (state, error, due) in tuple(self._results.items()):
            await self._outbox.record(mail_id, state, error, due)
            del self._results[mail_id]

    # -- the server -----------------------------------------------------------------------------------------------

    def _server_answered(self) -> None:
        """Note that the server took or refused a mail."""
        self._failures = 0
        self._hub.alarms.set(ALARM, None)

    def _server_failed(self, problem: str) -> None:
        retry = self._timeouts.server_retry
        delay = retry[min(self._failures, len(retry) - 1)]
        self._not_before = self._clock.monotonic() + delay
        self._failures += 1
        log.warning("mail: %s; the next attempt is in %.0f s", problem, delay)
        if self._failures >= FAILURES_OF_ALARM:
            self._hub.alarms.set(ALARM, f"mail cannot be sent: {problem}", logged=True)


class _SessionFailed(Exception):
    """A session failed after it was opened."""
