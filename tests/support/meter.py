"""A template with a datastream of each kind that the live stream distinguishes."""

from __future__ import annotations

METER = """
[template]
id = "TMPL0meter"
name = "Meter"
[[datastream]]
pin = "V0"
name = "Power"
type = "integer"
[[datastream]]
pin = "V1"
name = "Text"
type = "string"
[[datastream]]
pin = "V2"
name = "With default"
type = "integer"
default = 17
[[event]]
code = "full"
name = "Full"
[lifecycle]
wait = "0s"
"""
