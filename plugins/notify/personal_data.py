"""The mails to a user: exported for the user, and deleted with the user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub import Principal
from hub.api import to_json

if TYPE_CHECKING:
    from plugins.notify.service import NotifyService


class MailedUsers:
    """Exports and erases the mails of users (`hub_personal_data`)."""

    def __init__(self, service: NotifyService) -> None:
        self._service = service

    async def export(self, user: str, asker: Principal) -> Any:  # noqa: ARG002 - who may export a user may see these
        """Return the mails to a user, without their contents."""
        user_id = _user_id(user)
        return to_json(await self._service.outbox.of_user(user_id)) or None if user_id is not None else None

    async def erase(self, user: str) -> None:
        if (user_id := _user_id(user)) is not None:
            await self._service.erase_user(user_id)


def _user_id(actor_id: str) -> int | None:
    """Return the id of "user 3", or None for another principal."""
    kind, _, user_id = actor_id.partition(" ")
    return int(user_id) if kind == "user" and user_id.isdecimal() else None
