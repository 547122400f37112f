"""Bytes that arrive in pieces."""

from __future__ import annotations


def chunked(data, cuts):
    """Split bytes at some offsets; an offset past the end wraps around."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in zip(edges, edges[1:], strict=False)]
