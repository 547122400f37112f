"""The states of a write to one datastream, from the key that was pressed to the value that the board has.

===========  ================================  ======================================================================
state        the screen shows                  left for
===========  ================================  ======================================================================
WANTED       the wanted value, "sending"       SENDING when `poll` returns it: no other request of this datastream is
                                               on its way, and a slider's pause or the hub's Retry-After is over
SENDING      the wanted value, "sending"       SENT, or where its echo has led already, when the hub answers; WANTED
                                               when it answers and a newer value is wanted; REFUSED by an error
SENT         the wanted value; it is durable   DONE or WAITING by its echo on the stream; DONE when another value has
                                               followed, or no echo comes
WAITING      "waiting for the board"           DONE by a value of the board, or of anybody else; TAKEN_BACK or
                                               UNCONFIRMED when the hub gives up
TAKEN_BACK   the true value, and a sentence    DONE after `FLASH` seconds
UNCONFIRMED  the true value, and a sentence    DONE after `FLASH` seconds
REFUSED      the true value, and a sentence    DONE after `FLASH` seconds
DONE         the true value                    WANTED
===========  ================================  ======================================================================

`want` leads from every state to WANTED (SENDING while a request is on its way): a newer value replaces the wanted one.
One request of a datastream is on its way at a time, so that the hub gets the values in their order. The true value is
always the one of `tui.store.values`: nothing here decides what a datastream has, only what is drawn in its place.

The echo may come before the answer, twice, late, merged with later values, or never; it may also differ from what was
written, when the hub clamps a number. After another value, the right echo has `SETTLE` seconds to come.

A push button writes its "off" with ``must_arrive``: it follows the "on" even if the button was released before that was
sent, and is repeated until the hub has acknowledged it or rejected it for good.
"""

from __future__ import annotations

import enum
from math import inf
from typing import Any

import attrs

#: Seconds that a request, and then its echo, may take.
TIMEOUT = 10.0
#: Seconds that a write's own echo may come after another value.
SETTLE = 0.5
#: Seconds that a sentence is shown.
FLASH = 5.0
#: Seconds until a value that must arrive is sent again: the first pause, and the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0

NOT_TAKEN = "The board did not take it."
NOT_CONFIRMED = "The board has not confirmed it."
REPLACED = "The board did not take it, or another value has replaced it meanwhile."
NO_ANSWER = f"The hub has not answered for {TIMEOUT:g} seconds; the value may have been written."


class Phase(enum.Enum):
    """Where a write is; see the module."""

    WANTED = "wanted"
    SENDING = "sending"
    SENT = "sent"
    WAITING = "waiting for the board"
    DONE = "done"
    TAKEN_BACK = "taken back"
    UNCONFIRMED = "unconfirmed"
    REFUSED = "refused"


#: States in which the wanted value is shown.
SHOWN = (Phase.WANTED, Phase.SENDING, Phase.SENT, Phase.WAITING)


@attrs.frozen
class WriteRequest:
    """A value that is to be sent, ``interval`` seconds after the one before at the earliest."""

    value: Any
    interval: float = 0.0
    is_press: bool = False
    must_arrive: bool = False


@attrs.define
class WriteStates:
    """The state of the writes to one datastream. All times are seconds of one monotonic clock."""

    phase: Phase = Phase.DONE
    wanted: Any = None
    sentence: str = ""
    #: When `tick` has something to do.
    deadline: float = inf
    _queue: list[WriteRequest] = attrs.Factory(list)
    _current: WriteRequest | None = None
    _last_sent: float = -inf
    _retry_at: float = -inf
    _failures: int = 0
    #: Where the echo of the request on its way has led; None before it.
    _echo: Phase | None = None
    #: Where SENT leads to at its deadline.
    _otherwise: Phase = Phase.DONE

    @property
    def must_arrive(self) -> bool:
        """Whether there is a value that must still be acknowledged."""
        waiting = [*self._queue, *([self._current] if self._current else [])]
        return any(request.must_arrive for request in waiting)

    @property
    def send_at(self) -> float:
        """When `poll` will return a request, unless there is one on its way."""
        if self._current is not None or not self._queue:
            return inf
        return max(self._retry_at, self._last_sent + self._queue[0].interval)

    def want(self, request: WriteRequest) -> None:
        """Want another value from now on."""
        # A button that was released quickly: the press is sent all the same.
        kept = [old for old in self._queue if old.is_press] if request.must_arrive else []
        if not kept and not request.is_press and any(old.must_arrive for old in self._queue):
            request = attrs.evolve(request, must_arrive=True)
        self._queue = [*kept, request]
        self.wanted, self.sentence = request.value, ""
        self._move(Phase.SENDING if self._current else Phase.WANTED)

    def poll(self, now: float) -> WriteRequest | None:
        """Return the next request to send, if it is time; it must be followed by `accepted` or `failed`."""
        if now < self.send_at:
            return None
        self._current, self._last_sent, self._echo = self._queue.pop(0), now, None
        self._move(Phase.SENDING)
        return self._current

    def accepted(self, now: float) -> None:
        """The hub has stored the value of the request on its way."""
        self._current, self._failures, self._retry_at = None, 0, -inf
        if self._queue:
            self._move(Phase.WANTED)
        elif self._echo is not None:
            self._end(self._echo, now)
        else:
            self._otherwise = Phase.DONE
            self._move(Phase.SENT, now + TIMEOUT)

    def failed(self, sentence: str, now: float, *, is_final: bool = False, retry_after: float | None = None) -> None:
        """The request on its way has failed; ``is_final`` if the hub has certainly not written it, and never will."""
        request, self._current = self._current, None
        assert request is not None
        if request.is_press and is_final:
            # Nothing is on that would have to be switched off.
            self._queue = [queued for queued in self._queue if not queued.must_arrive]
        if self._queue:
            self._retry_at = now + (retry_after or 0.0)
            self._move(Phase.WANTED)
        elif request.must_arrive and not is_final:
            self._failures += 1
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10))
            self._again(request, now + max(pause, retry_after or 0.0), sentence)
        elif retry_after is not None and retry_after <= TIMEOUT:
            self._again(request, now + retry_after, sentence)
        else:
            self.sentence = sentence
            self._move(Phase.REFUSED, now + FLASH)

    def _again(self, request: WriteRequest, at: float, sentence: str) -> None:
        self._queue, self._retry_at, self.sentence = [request], at, sentence
        self._move(Phase.WANTED)

    def echo(self, value: Any, by: str, *, is_pending: bool, now: float) -> None:
        """Take a value of the datastream from the stream, whoever has written it."""
        is_taken_back = by == "confirmation"
        if self._current is not None and not self._queue:
            if is_same(self._current.value, value) and not is_taken_back:
                self._echo = Phase.WAITING if is_pending else Phase.DONE
            elif self._echo is not None:
                self._echo = Phase.TAKEN_BACK if is_taken_back and self._echo is Phase.WAITING else Phase.DONE
        elif self.phase is Phase.SENT:
            if is_same(self.wanted, value) and not is_taken_back:
                self._end(Phase.WAITING if is_pending else Phase.DONE, now)
            else:
                self._otherwise = Phase.TAKEN_BACK if is_taken_back else Phase.DONE
                self.deadline = min(self.deadline, now + SETTLE)
        elif self.phase is Phase.WAITING:
            if is_taken_back:
                self._end(Phase.TAKEN_BACK, now)
            elif not (is_pending and is_same(self.wanted, value)):
                self._end(Phase.DONE, now)

    def confirmation_ended(self, now: float) -> None:
        """The hub does not wait for the board any more, and keeps the value."""
        if self._current is not None and self._echo is Phase.WAITING:
            self._echo = Phase.UNCONFIRMED
        elif self.phase is Phase.WAITING:
            self._end(Phase.UNCONFIRMED, now)

    def resynchronize(self, value: Any, *, is_pending: bool, now: float) -> None:
        """Take the present value from a snapshot, after messages were missed."""
        if self.phase is Phase.SENT:
            self._end(Phase.WAITING if is_pending and is_same(self.wanted, value) else Phase.DONE, now)
        elif self.phase is Phase.WAITING and not (is_pending and is_same(self.wanted, value)):
            if is_same(self.wanted, value) or is_pending:
                self._end(Phase.DONE, now)
            else:
                self._end(Phase.TAKEN_BACK, now, REPLACED)

    def tick(self, now: float, *, is_live: bool) -> None:
        """Go on if the deadline is over. Without a live stream, no echo is missed."""
        if now < self.deadline or (self.phase is Phase.SENT and not is_live):
            return
        self._end(self._otherwise if self.phase is Phase.SENT else Phase.DONE, now)

    def _end(self, phase: Phase, now: float, sentence: str = "") -> None:
        if phase in (Phase.TAKEN_BACK, Phase.UNCONFIRMED):
            self.sentence = sentence or (NOT_TAKEN if phase is Phase.TAKEN_BACK else NOT_CONFIRMED)
            self._move(phase, now + FLASH)
        else:
            self.sentence = ""
            self._move(phase)

    def _move(self, phase: Phase, deadline: float = inf) -> None:
        self.phase, self.deadline = phase, deadline


def is_same(wanted: Any, value: Any) -> bool:
    """Whether the hub's value is the one that was written: it may be a number where text was written, or an integer
    where a float was.
    """
    if wanted == value:
        return True
    try:
        return float(wanted) == float(value)
    except (TypeError, ValueError):
        return False
