"""The clock of the hub over HTTP: what time it is, and repairing what a wrong clock has stamped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from hub.api import Request, Route
from hub.domain.clock_repair import DeviceValues, RepairJob, RepairPlan
from hub.errors import Rejected

if TYPE_CHECKING:
    from hub.app import Hub


@attrs.frozen(kw_only=True)
class DoubtObject:
    """Stamps from ``began`` to before ``ended`` were given while the machine's clock was not believed; in ms UTC.

    ``ended`` is null while it lasts, and when the hub was stopped meanwhile; ``wall`` is what the machine's clock said.
    """

    state: str
    began: int
    ended: int | None
    wall: int


@attrs.frozen(kw_only=True)
class ClockObject:
    """``now`` is the hub's stamp and ``wall`` the machine's clock, in ms UTC; ``problem`` why they differ.

    ``synchronized`` is what the kernel says of the machine's clock. ``future`` has the devices with values after
    ``wall``.
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

    With ``device_id`` only of that device. With ``dry_run`` nothing is changed.
    """

    shift_ms: int | None = None
    drop: bool = False
    device_id: int | None = None
    dry_run: bool = False


def routes(hub: Hub) -> Sequence[Route]:
    async def clock(_request: Request) -> ClockObject:
        sql = "SELECT state, began, ended, wall FROM clock_doubts ORDER BY began"
        doubts = await hub.storage.configuration.fetch_all(sql)
        future = await hub.clock_repairs.future()
        return ClockObject(
            now=hub.clock.now(),
            wall=hub.clock.wall,
            state=hub.clock.state.value,
            believable=hub.clock.believable,
            synchronized=hub.clock.synchronized,
            problem=hub.clock.problem,
            doubts=[DoubtObject(state=s, began=began, ended=ended, wall=at) for s, began, ended, at in doubts],
            future=future,
        )

    async def repair(request: Request) -> RepairPlan:
        body: RepairClock = request.body
        if body.drop == (body.shift_ms is not None):
            raise Rejected("give either shiftMs or drop")
        plan = await hub.clock_repairs.plan(body.shift_ms, body.device_id)
        if not body.dry_run:
            hub.clock_repairs.begin(plan, request.principal, request.address)
        return plan

    async def state(_request: Request) -> RepairJob:
        return hub.clock_repairs.job

    path, permission = "/api/v1/clock/repair", "clock.repair"
    return [
        Route("GET", "/api/v1/clock", clock, "hub.view", "What time it is, and whether that is believed"),
        # The audit has its own record of a repair, from before anything is changed.
        Route(
            "POST",
            path,
            repair,
            permission,
            "Begin to repair what a wrong clock has stamped",
            RepairClock,
            audited=False,
        ),
        Route("GET", path, state, permission, "How far a repair of the clock is, and how it ended"),
    ]
