"""Where things are: the project and its tests."""

from pathlib import Path

TESTS = Path(__file__).parent.parent
ROOT = TESTS.parent
