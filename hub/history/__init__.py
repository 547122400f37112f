"""The history of values: a log of commits, compacted into chunks, with statistics of hours and days.

`commit_log` describes the way of a value. The names below are public.
"""

from hub.history.chunks import HOUR_MS, Point, Statistics, Totals, combine, combine_totals
from hub.history.chunkstore import MAX_SERIES_PER_QUERY, Aggregate
from hub.history.commit_log import History, Receipt
from hub.history.query import Bucket, Granularity, totals_of_buckets

__all__ = [
    "HOUR_MS",
    "MAX_SERIES_PER_QUERY",
    "Aggregate",
    "Bucket",
    "Granularity",
    "History",
    "Point",
    "Receipt",
    "Statistics",
    "Totals",
    "combine",
    "combine_totals",
    "totals_of_buckets",
]
