"""Benchmarks: ``python -m bench NAME`` prints one JSON object.

Each starts a hub of its own on the loopback interface, ends by itself, and is a module with a function of its name.
"""
