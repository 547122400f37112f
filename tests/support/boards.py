"""Dashboards in tests of the console: one widget of each component, and many values."""

from __future__ import annotations

from tui.widgets.cell_model import CellValue, CellWidget, Datastream, State

TEMPERATURE = Datastream(pin="V0", name="Outside", units="°C", min=-20, max=40, decimals="#.#")
MODE = Datastream(pin="V3", name="Mode", type="enum", values={"0": "Off", "1": "Heat", "2": "Cool"})
HEATING = Datastream(pin="V4", name="Heating", type="integer", min=0, max=1)
SET_POINT = Datastream(pin="V5", name="Set point", units="°C", min=5, max=35, decimals="#.#")
STRING = Datastream(pin="V6", name="Log", type="string")
BITS = Datastream(pin="V7", name="Inputs", type="integer")
LOCATION = Datastream(pin="V8", name="Place", type="location")


def widget(kind, datastream=None, x=0, y=0, width=6, height=3, **rest):
    datastreams = rest.pop("datastreams", (datastream,) if datastream else ())
    return CellWidget(
        id=rest.pop("id", kind), type=kind, x=x, y=y, width=width, height=height, datastreams=datastreams, **rest
    )


def boiler():
    """A dashboard with its values."""
    widgets = [
        widget("label", TEMPERATURE),
        widget("menu", MODE, x=6),
        widget("switch", HEATING, x=12),
        widget("slider", SET_POINT, x=18),
        widget("gauge", TEMPERATURE, y=3, title="Outside, as a gauge"),
        widget("led", HEATING, x=6, y=3, title="Pump"),
        widget("button", HEATING, x=12, y=3, title="Purge"),
        widget("map", LOCATION, x=18, y=3),
        widget("bitmask_table", BITS, y=6, height=4, options={"rows": ["Door", "Water", "Smoke"]}),
        widget("text_input", STRING, x=6, y=6, title="Name"),
        widget("rgb_light", STRING, x=12, y=6, title="Light"),
        widget("video", STRING, x=18, y=6, title="Camera", options={"url": "https://example.org/camera"}),
        widget("chart", TEMPERATURE, y=10, width=12, height=4, title="Today"),
        widget("terminal", STRING, x=12, y=10, width=12, height=6),
        widget("heatmap", TEMPERATURE, y=14, width=6, height=2, title="Days"),
        widget("alarm", HEATING, x=6, y=14, height=2, title="Siren"),
    ]
    history = tuple(None if 20 <= at < 26 else 15 + (at * 7 % 23) / 3 for at in range(60))
    values = {
        "label": CellValue(values=(21.6,), history=history),
        "menu": CellValue(values=(1,)),
        "switch": CellValue(values=(1,), state=State.PENDING, note="sending …"),
        "slider": CellValue(values=(20.5,)),
        "gauge": CellValue(values=(21.6,), state=State.STALE),
        "led": CellValue(values=(0,)),
        "button": CellValue(values=(0,), state=State.REFUSED, note="the board did not take it"),
        "map": CellValue(values=([13.3777, 52.5163],)),
        "bitmask_table": CellValue(values=(5,)),
        "text_input": CellValue(values=("Cellar\x1b[2J \u202e日本",)),
        "rgb_light": CellValue(values=("255,128,0",)),
        "chart": CellValue(values=(21.6,), history=history),
        "terminal": CellValue(log=("> boot ok", "ready\x07")),
        "heatmap": CellValue(values=(3,)),
        "alarm": CellValue(values=(1,)),
    }
    return widgets, values


def many(number=100):
    """A dashboard with this many values, ten in a row."""
    return [
        widget(
            "label", Datastream(pin=f"V{at}", units="°C"), id=str(at), x=at % 10 * 2, y=at // 10 * 2, width=2, height=2
        )
        for at in range(number)
    ]
