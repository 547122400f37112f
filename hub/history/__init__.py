"""The history of values: the commit log, the chunks that its segments are compacted into, and queries of both."""

from hub.history.commit_log import History, Receipt

__all__ = ["History", "Receipt"]
