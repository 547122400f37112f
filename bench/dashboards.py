"""Bench ``dashboards``: the data of widgets about many devices, in this process, with a simulated clock."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import trio

from bench.history import BEGIN, DAY_MS, StallMeter, add_datastreams, write_values
from bench.hub_process import DATASTREAMS
from hub.app import Hub
from hub.clock import Clock
from hub.commands import settle
from hub.config import parse
from hub.history.chunks import HOUR_MS
from hub.model import LOCAL, ROOT_ORG
from hub.run import running
from plugins.dashboards.model import DashboardWidget, FleetDashboard, Range
from plugins.dashboards.selection import Selector
from plugins.dashboards.widget_data import View, WidgetQueries

#: Queries of each widget; the result is their median.
QUERIES = 21
_V0 = {"pin": "V0"}
#: The measured widgets, by the name of the result.
WIDGETS: dict[str, tuple[DashboardWidget, Range]] = {
    "label": (DashboardWidget(id=1, type="label", options={"metric": _V0}), "1d"),
    "chart": (
        DashboardWidget(id=2, type="metrics_over_time", options={"series": [_V0 | {"aggregate": "max"}]}),
        "1d",
    ),
    "table": (DashboardWidget(id=3, type="device_table", options={"columns": [_V0] * 20, "sortColumn": 0}), "1d"),
    "count": (DashboardWidget(id=4, type="active_devices"), "1d"),
}


class _SliceMeter:
    """Measures the longest CPU time in seconds between two rounds of the event loop.

    Other programs of the machine make no difference, as they do to `StallMeter`.
    """

    def __init__(self) -> None:
        self.longest = 0.0

    async def run(self) -> None:
        while True:
            before = time.thread_time()
            await trio.sleep(0)
            self.longest = max(self.longest, time.thread_time() - before)


def dashboards(*, devices: int) -> dict[str, Any]:
    """Widgets of many devices that sent a value a minute for a day: CPU, and its longest slice (milliseconds)."""
    return trio.run(_dashboards, devices)


async def _dashboards(devices: int) -> dict[str, Any]:
    now = [BEGIN]
    with tempfile.TemporaryDirectory(prefix="pinwheel-bench-") as folder:
        config = parse("").with_data(str(Path(folder) / "data"))
        clock = Clock(wall=lambda: now[0] * 1_000_000, uptime=lambda: now[0] / 1000)
        async with running(config, listen=False, clock=clock) as hub:
            datastreams = (await add_datastreams(hub, devices * DATASTREAMS))[::DATASTREAMS]
            # Half an hour more than a day, which is not compacted.
            points = devices * (DAY_MS + HOUR_MS // 2) // 60_000
            await write_values(hub, datastreams, points, now, StallMeter())
            settle()
            result: dict[str, Any] = {"devices": devices, "points": points}
            for name, (widget, range_) in WIDGETS.items():
                cpu_ms, slice_ms = await _measure(hub, widget, range_)
                result |= {f"{name}_cpu_ms": round(cpu_ms, 1), f"{name}_slice_ms": round(slice_ms, 1)}
    return result


async def _measure(hub: Hub, widget: DashboardWidget, range_: Range) -> tuple[float, float]:
    """Return the CPU of the data of a widget, and the longest slice of it in the event loop, in milliseconds."""
    queries, view = WidgetQueries(hub, Selector(hub)), View(range_=range_)
    dashboard = FleetDashboard(id=1, org=ROOT_ORG)
    durations, slices = [], []
    for _ in range(QUERIES):
        meter = _SliceMeter()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(meter.run)
            data = await queries.data(dashboard, widget, LOCAL, view)
            # The meter has measured the last slice in the second round from here.
            for _ in range(2):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        slices.append(meter.longest)
        # Again without the meter, which never rests.
        before = time.process_time()
        data = await queries.data(dashboard, widget, LOCAL, view)
        durations.append(time.process_time() - before)
        assert data.problem is None, data.problem
        assert data.value or data.series or data.rows, data
    return statistics.median(durations) * 1000, max(slices) * 1000
