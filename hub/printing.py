"""What commands print: results as JSON or in words, and warnings."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any


def show(value: Any) -> None:
    """Print as JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def report(args: argparse.Namespace, value: Any, *lines: str) -> None:
    """Print what was done: as JSON with ``--json``, else in words."""
    if args.json:
        show(value)
    else:
        print("\n".join(lines))


def warn(text: str) -> None:
    """Print to stderr what should be known beside the result."""
    print(f"pinwheel: {text}", file=sys.stderr)


def megabytes_a_month(size: float) -> str:
    """Bytes that are written in a month, in words."""
    return f"{size / 1e6:.2f} MB a month" if size >= 10_000 else "less than 0.01 MB a month"
