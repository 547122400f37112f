"""The settings of this plugin."""

from __future__ import annotations

from typing import Literal

import attrs

from hub import StartupError
from hub.parsing.structuring import Duration, seconds


@attrs.frozen(kw_only=True)
class Settings:
    """``[plugins.users]``: how long tokens and links are valid."""

    access: Duration = "1h"
    refresh: Duration = "30d"
    invitation: Duration = "30d"
    reset: Duration = "1d"

    def milliseconds(self, key: Literal["access", "refresh", "invitation", "reset"]) -> int:
        """Return the duration of a setting in milliseconds. Raises `StartupError`."""
        try:
            return int(seconds(getattr(self, key)) * 1000)
        except ValueError as error:
            raise StartupError(f"plugins.users.{key}: {error}") from error
