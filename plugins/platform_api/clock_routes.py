"""Routes of the hub's clock: the time it keeps, and the repair of stamps that a wrong clock has given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from hub import Rejected, Request, Route
from hub.domain import DeviceValues, RepairJob, RepairPlan

if TYPE_CHECKING:
    from hub import Hub


@attrs.frozen(kw_only=True)
class DoubtObject:
    """A period in which the hub did not trust the machine's clock; times are ms UTC.

    It covers stamps from ``began`` to before ``ended``. ``ended`` is null while the period lasts, and if the hub was
    stopped during it. ``wall`` is the machine's clock at its beginning.
    """

    state: str
    began: int
    ended: int | None
    wall: int


@attrs.frozen(kw_only=True)
class ClockObject:
    """``now`` is the hub's stamp and ``wall`` the machine's clock, in ms UTC; ``problem`` says why they differ.

    ``synchronized`` is the kernel's own statement about the machine's clock. ``future`` lists the devices with values
    after ``wall``.
    """

    now: int
    wall: int
    state: str
    believable: bool
    synchronized: bool
    problem: str | None
    doubts: list[DoubtObject]
    future: list[DeviceValues]


@attrs.frozen(kw_only=True)
class RepairClock:
    """Either ``shift_ms``, by which stamps after now are too late, or ``drop``, which deletes values with such stamps.

    ``device_id`` limits the repair to one device. With ``dry_run`` nothing is changed.
    """

    shift_ms: int | None = None
    drop: bool = False
    device_id: int | None = None
    dry_run: bool = False


class ClockRoutes:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def clock(self, _request: Request) -> ClockObject:
        hub = self._hub
        sql = "SELECT state, began, ended, wall FROM clock_doubts ORDER BY began"
        rows = await hub.storage.configuration.fetch_all(sql)
        future = await hub.clock_repairs.future()
        return ClockObject(
            now=hub.clock.now(),
            wall=hub.clock.wall,
            state=hub.clock.state.value,
            believable=hub.clock.believable,
            synchronized=hub.clock.synchronized,
            problem=hub.clock.problem,
            doubts=[DoubtObject(state=s, began=began, ended=ended, wall=wall) for s, began, ended, wall in rows],
            future=future,
        )

    async def repair(self, request: Request) -> RepairPlan:
        body: RepairClock = request.body
        if body.drop == (body.shift_ms is not None):
            raise Rejected("Set either shiftMs or drop, and not both.")
        plan = await self._hub.clock_repairs.plan(body.shift_ms, body.device_id)
        if not body.dry_run:
            self._hub.clock_repairs.begin(plan, request.principal, request.address)
        return plan

    async def repair_job(self, _request: Request) -> RepairJob:
        return self._hub.clock_repairs.job


def routes(hub: Hub) -> Sequence[Route]:
    api = ClockRoutes(hub)
    path, permission = "/api/v1/clock/repair", "clock.repair"
    begin = "Start a repair of the timestamps of a wrong clock"
    return [
        Route(
            "GET", "/api/v1/clock", api.clock, "hub.view", "The hub's time, and whether it trusts the machine's clock"
        ),
        # Quiet: the repair itself writes its audit record before it changes anything.
        Route("POST", path, api.repair, permission, begin, RepairClock, audited=False),
        Route("GET", path, api.repair_job, permission, "Progress and result of a repair of timestamps"),
    ]
