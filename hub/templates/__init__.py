"""Templates: the store with their versions, their documents in TOML and JSON, and the types of widgets.

The names below are public.
"""

from hub.templates.document import difference, parse, shipped, to_document, to_toml
from hub.templates.store import Templates, Version, dropped_names

__all__ = ["Templates", "Version", "difference", "dropped_names", "parse", "shipped", "to_document", "to_toml"]
