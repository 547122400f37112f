"""Messages of the hub to its users: invitations, links for new passwords, alarms. Plugins contribute the channels.

A channel (`hub_channels`) brings messages to their readers; the plugin notify has the channel mail. The sender of a
message knows its kind and its data. The channel has the texts, and chooses the reader's language.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import attrs

from hub.domain.directory import DirectoryUser
from hub.errors import Conflict

__all__ = ["Channel", "Message", "Messages", "NoChannel", "Recipient"]


class NoChannel(Conflict):
    """No channel is set up that brings this message to its recipient."""


@attrs.frozen
class Recipient:
    """The reader of a message. ``locale`` is a language such as "de" or "de-AT", ``user`` the id of a user."""

    email: str
    name: str = ""
    locale: str = ""
    user: int | None = None

    @classmethod
    def of(cls, user: DirectoryUser) -> Recipient:
        return cls(user.email, user.name, user.locale, user.id)


@attrs.frozen
class Message:
    """A message to one reader. ``kind`` selects the text, such as "invitation", and ``data`` fills its blanks.

    ``data`` may have secrets, such as a link that logs in: a channel deletes it when the message is delivered or given
    up. An ``urgent`` message is sent even if it cannot be stored: it is about a full disk, for example.
    """

    kind: str
    to: Recipient
    data: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    urgent: bool = attrs.field(default=False, kw_only=True)


@runtime_checkable
class Channel(Protocol):
    """A way for messages to their readers. All but `send` answer from memory."""

    @property
    def name(self) -> str:
        """The unique name, such as "mail"."""

    def accepts(self, message: Message) -> bool:
        """Return whether the channel has a text for the message, and can reach its reader."""

    async def send(self, message: Message) -> None:
        """Store a message durably, to be delivered soon. Raises `RequestError` and `StorageError`."""


class Messages:
    """Sends messages through the channels of plugins."""

    def __init__(self) -> None:
        self.channels: Sequence[Channel] = ()

    def install(self, channels: Sequence[Channel]) -> None:
        self.channels = channels

    async def send(self, message: Message) -> None:
        """Pass a message to the first channel that accepts it; it is durable when this returns.

        Raises `NoChannel` when none does, `RequestError` and `StorageError` when the message could not be stored.
        """
        for channel in self.channels:
            if channel.accepts(message):
                await channel.send(message)
                return
        raise NoChannel(
            f"No channel is set up for the message {message.kind!r} to {message.to.email!r}:"
            " the table [mail] in hub.toml sets up mail."
        )
