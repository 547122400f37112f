"""Templates in TOML."""

from __future__ import annotations

#: Values of two types, and a default.
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

#: Datastreams of all types but "double", an event and metadata.
LAMP = """\
[template]
id = "TMPL0lamp"
name = "Lamp"
hardware = "ESP32"
connection = "WiFi"

[[datastream]]
id = 1
pin = "V0"
name = "Brightness"
type = "integer"
units = "%"
min = 0
max = 100
sync = true

[[datastream]]
id = 2
pin = "V1"
name = "Colour"
type = "string"
default = "white"

[[datastream]]
id = 5
pin = "V2"
name = "Mode"
type = "enum"
fallback = 0

[datastream.values]
0 = "Off"
1 = "On"

[[datastream]]
id = 6
pin = "V3"
name = "Place"
type = "location"

[[event]]
code = "broken"
name = "Broken"
type = "critical"
description = "Change the bulb"

[[metadata]]
name = "Room"
default = "none"
"""

#: The device of the examples in Blynk's documentation.
THERMOSTAT = """
[template]
id = "TMPL0blynk"
name = "Thermostat"
hardware = "ESP32"
[[datastream]]
id = 1
pin = "V1"
name = "Temperature"
type = "double"
units = "Celsius"
alias = "Outside"
default = 5
[[datastream]]
id = 2
pin = "V2"
name = "Mode"
type = "integer"
[[event]]
code = "high_temp"
name = "High temperature"
[[metadata]]
name = "Serial Number"
type = "text"
default = "SN:123"
[[metadata]]
name = "Threshold"
type = "number"
"""
