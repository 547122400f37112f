"""What devices told, kept: the log that every value goes to, the chunks it is sealed into, and how both are read."""

from hub.history.commit_log import History, Receipt

__all__ = ["History", "Receipt"]
