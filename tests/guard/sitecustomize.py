"""Python imports this at the start of every program that has this folder in PYTHONPATH."""

import fixed_ports  # noqa: F401
