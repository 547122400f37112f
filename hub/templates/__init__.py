"""Templates: the store with their versions, their documents in TOML and JSON, and the types of widgets.

The names below are public.
"""

from hub.templates.document import difference, parse, shipped, to_document, to_toml
from hub.templates.generated import mobile_dashboard, web_dashboard, writable_pins
from hub.templates.store import Templates, Version, dropped_names
from hub.templates.widgets import COLUMNS, HEADER, MOBILE, TILES, WEB, Option, OptionKind, WidgetType

__all__ = [
    "COLUMNS",
    "HEADER",
    "MOBILE",
    "TILES",
    "WEB",
    "Option",
    "OptionKind",
    "Templates",
    "Version",
    "WidgetType",
    "difference",
    "dropped_names",
    "mobile_dashboard",
    "parse",
    "shipped",
    "to_document",
    "to_toml",
    "web_dashboard",
    "writable_pins",
]
