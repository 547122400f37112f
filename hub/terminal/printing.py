"""Output of commands: results as JSON or text, and warnings."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

__all__ = [
    "megabytes_a_month",
    "report",
    "show",
    "warn",
]


def show(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def report(args: argparse.Namespace, value: Any, *lines: str) -> None:
    """Print a result: ``value`` as JSON with ``--json``, else ``lines``."""
    if args.json:
        show(value)
    else:
        print("\n".join(lines))


def warn(text: str) -> None:
    """Print a warning to stderr."""
    print(f"pinwheel: {text}", file=sys.stderr)


def megabytes_a_month(size: float) -> str:
    """Format a number of bytes that are written in a month."""
    return f"{size / 1e6:.2f} MB a month" if size >= 10_000 else "less than 0.01 MB a month"
