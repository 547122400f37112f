"""The log of mails over HTTP, and a test of ``[mail]``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from hub import Rejected, Request, Route, Unavailable, secret
from hub.api import Page, PageNumber, PageSize
from hub.domain import NoChannel
from hub.parsing.spellings import email_address
from plugins.notify.outbox import LoggedMail, Mail
from plugins.notify.smtp import MailRefused, ServerProblem

if TYPE_CHECKING:
    from hub import Hub
    from plugins.notify.service import NotifyService


@attrs.frozen(kw_only=True)
class TestMail:
    """``address`` gets a mail at once; ``locale`` is its language, such as "de"."""

    address: str = secret()
    locale: str = ""


@attrs.frozen(kw_only=True)
class SentMail:
    """``server`` has taken a mail to ``address``. Links in mails begin with ``base``."""

    address: str
    server: str
    base: str


class MailRoutes:
    def __init__(self, hub: Hub, service: NotifyService) -> None:
        self._hub = hub
        self._service = service

    async def mails(self, _request: Request, *, page: PageNumber = 0, size: PageSize = 100) -> Page[LoggedMail]:
        mails, total = await self._service.outbox.page(page, size)
        return Page(content=mails, total_elements=total)

    async def test(self, request: Request) -> SentMail:
        """Send a mail past the outbox, and answer when the server has taken it."""
        body: TestMail = request.body
        delivery = self._service.delivery
        if delivery is None:
            raise NoChannel("No mail server is set up: see the table [mail] in hub.toml, and docs/operate.md.")
        try:
            address = email_address(body.address)
        except ValueError as error:
            raise Rejected(f"address: {error}") from error
        base = self._hub.link("", request)
        mail = Mail(
            kind="test",
            address=address,
            name="",
            locale=body.locale,
            user=None,
            data={"base": base},
            created=self._hub.clock.now(),
        )
        try:
            await delivery.test(mail)
        except (MailRefused, ServerProblem) as error:
            raise Unavailable(f"The mail was not sent: {error}.") from error
        return SentMail(address=address, server=self._hub.config.mail.server, base=base)


def routes(hub: Hub, service: NotifyService) -> Sequence[Route]:
    api = MailRoutes(hub, service)
    log = "Mails that were sent, have failed or wait, newest first"
    return [
        Route("GET", "/api/v1/mails", api.mails, "mail.view", log),
        Route("POST", "/api/v1/mail/test", api.test, "mail.test", "Send a test mail", TestMail),
    ]
