"""Documents of templates in TOML."""

from __future__ import annotations

import tomli_w

WEATHER = """
[template]
id = "TMPL0weather0"
name = "Weather station"
hardware = "ESP32"
connection = "WiFi"

[[datastream]]
pin = "V0"
name = "Temperature"
units = "°C"
min = -40
max = 85
decimals = "#.#"
default = 0
sync = true

[[datastream]]
pin = "v1"
name = "Mode"
type = "enum"
values = { 0 = "Off", 1 = "Heat", 2 = "Cool" }
fallback = 0

[[event]]
code = "too_hot"
name = "Too hot"
type = "warning"

[[metadata]]
name = "Serial Number"
"""


def template(*streams, key="TMPL0", name="Test", tables=""):
    """The TOML of a template; the datastreams are tables without their header."""
    head = f'[template]\nid = "{key}"\nname = "{name}"\n'
    return head + "".join(f"[[datastream]]\n{stream}\n" for stream in streams) + tables


def stream(pin, name=None, values=None, **options):
    """The table of a datastream, without its header."""
    table = tomli_w.dumps({"pin": f"V{pin}", "name": name or f"Pin {pin}", **options})
    listed = ", ".join(f'{number} = "{label}"' for number, label in (values or {}).items())
    return table if values is None else f"{table}values = {{ {listed} }}\n"
