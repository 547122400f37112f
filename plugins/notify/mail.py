"""Mails: how a message becomes one (RFC 5322), and the channel by which the hub sends them."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING

import trio

from hub import Rejected, StorageError, Unavailable
from hub.parsing.spellings import email_address, mailbox
from plugins.notify.outbox import Mail, Outbox
from plugins.notify.translations import Text, find_text

if TYPE_CHECKING:
    from hub.domain import Message
    from plugins.notify.delivery import Delivery


def check(mail: Mail) -> Text:
    """Return the text for a mail. Raises ValueError when there is none, or the mail's data or address do not do."""
    text = find_text(mail.kind, mail.locale)
    if text is None:
        raise ValueError(f"there is no text for messages of the kind {mail.kind!r}")
    if missing := text.fields - {"hub", "email"} - mail.data.keys():
        raise ValueError(f"the message {mail.kind!r} has no {', '.join(sorted(missing))}")
    email_address(mail.address)
    return text


def compose(mail: Mail, hub_name: str, sender: str) -> EmailMessage:
    """Return a mail in the reader's language, as plain text and HTML.

    Its Message-ID is the same at each attempt, so that a mail that arrives twice is recognized. Raises ValueError as
    `check` does.
    """
    text = check(mail)
    rendered = text.render({**mail.data, "hub": hub_name, "email": mail.address})
    sender_name, sender_address = mailbox(sender)
    message = EmailMessage(policy=SMTP)
    message["From"] = _address(sender_name, sender_address)
    message["To"] = _address(mail.name, email_address(mail.address))
    message["Subject"] = rendered.subject
    message["Date"] = format_datetime(datetime.fromtimestamp(mail.created // 1000, UTC))
    message["Message-ID"] = f"<pinwheel.{mail.created}.{mail.id}@{sender_address.rpartition('@')[2]}>"
    # RFC 3834: nobody's absence is to be reported to the hub.
    message["Auto-Submitted"] = "auto-generated"
    # Not every server takes lines of 8 bits.
    message.set_content(rendered.plain, cte="quoted-printable")
    message.add_alternative(rendered.html, subtype="html", cte="quoted-printable")
    return message


def _address(name: str, address: str) -> Address:
    local, _, domain = address.rpartition("@")
    return Address("".join(char for char in name if char.isprintable()), local, domain)


class MailChannel:
    """The channel "mail" (`hub_channels`): queues messages in the outbox."""

    name = "mail"

    def __init__(self, outbox: Outbox, delivery: Delivery, deadline: float) -> None:
        """``deadline`` is in seconds, until the disk has taken a mail."""
        self._outbox = outbox
        self._delivery = delivery
        self._deadline = deadline

    def accepts(self, message: Message) -> bool:
        with suppress(ValueError):
            return bool(email_address(message.to.email)) and find_text(message.kind, "") is not None
        return False

    async def send(self, message: Message) -> None:
        """Queue a message. Raises `Rejected` when it cannot be mailed, `Unavailable`, `StorageError`."""
        mail = self._outbox.mail_of(message)
        try:
            check(mail)
        except ValueError as error:
            raise Rejected(f"This cannot be mailed: {error}.") from error
        try:
            await self._store(mail)
        except (StorageError, Unavailable):
            if not message.urgent or not self._delivery.hold(mail):
                raise
        self._delivery.wake()

    async def _store(self, mail: Mail) -> None:
        with trio.move_on_after(self._deadline):
            await self._outbox.add(mail)
            return
        raise Unavailable(f"The mail could not be stored within {self._deadline:.0f} s: the disk does not answer.")
