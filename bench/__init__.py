"""Measurements: ``python -m bench NAME --json``. Each starts a hub of its own on loopback and is bounded in time."""
