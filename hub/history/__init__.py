"""What devices told, kept: the hot log that every value goes to, and the latest value of each series."""

from hub.history.hot import History, Receipt

__all__ = ["History", "Receipt"]
