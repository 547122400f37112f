"""Readers of what comes from outside, without trio and without a hub: text, TOML and JSON as classes, time zones."""
