"""The values of devices, by device and pin, and which of them the screen must draw again.

A value is shown in one of these states; the first that applies counts:

=========  ==========================================================================================================
stale      no subscription delivers the device's changes at the moment: the value may have changed since its time
expired    the device has not sent it for too long; `Value.text` is what the template shows instead
pending    somebody has written it, and the device has not confirmed it yet
live       it is the newest value that the hub has
=========  ==========================================================================================================

Changes are collected in a set, which `Ticker` hands to the visible screen four times a second. Nothing else draws
values: a thousand changes a second are four draws.
"""

from __future__ import annotations

import asyncio
import enum
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

#: Device id and pin.
Key = tuple[int, int]
#: Values in memory. Those of the device that was used least recently are dropped first, of devices without a
#: subscription before the others.
MAX_VALUES = 20_000
#: Seconds between two draws of values.
TICK = 0.25
#: Pins by their names on the stream.
PINS = {f"v{pin}": pin for pin in range(256)}


class State(enum.Enum):
    """How true a value is; see the module."""

    LIVE = "live"
    STALE = "stale"
    PENDING = "pending"
    EXPIRED = "expired"


@attrs.frozen
class Value:
    """A value as it is drawn. ``ts`` is its stamp in ms UTC, None if only the value is known; ``by`` is its author."""

    raw: Any
    ts: int | None
    by: str
    state: State
    text: str | None = None


@attrs.define
class _Entry:
    raw: Any
    ts: int | None
    by: str = ""
    is_pending: bool = False
    expired_text: str | None = None


class Values:
    """The values of a hub. Not more than ``limit`` are in memory."""

    def __init__(self, limit: int = MAX_VALUES) -> None:
        self._limit = limit
        self._count = 0
        self._devices: OrderedDict[int, dict[int, _Entry]] = OrderedDict()
        self._covered: frozenset[int] = frozenset()
        self._dirty: set[Key] = set()

    def __len__(self) -> int:
        return self._count

    def get(self, key: Key) -> Value | None:
        """Return a value as it is drawn, or None."""
        device, pin = key
        entry = self._devices.get(device, {}).get(pin)
        if entry is None:
            return None
        if device not in self._covered:
            state = State.STALE
        elif entry.expired_text is not None:
            state = State.EXPIRED
        else:
            state = State.PENDING if entry.is_pending else State.LIVE
        return Value(entry.raw, entry.ts, entry.by, state, entry.expired_text)

    def is_pending(self, key: Key) -> bool:
        """Whether the hub waits for the device to confirm the value."""
        entry = self._devices.get(key[0], {}).get(key[1])
        return entry is not None and entry.is_pending

    def pins(self, device: int) -> list[int]:
        """Return the pins of a device that have values."""
        return sorted(self._devices.get(device, ()))

    def take_dirty(self) -> set[Key]:
        """Return the keys of all values that have changed since the last call, those without a value included."""
        dirty, self._dirty = self._dirty, set()
        return dirty

    def mark_dirty(self, key: Key) -> None:
        """Have a key drawn with the next tick, for a change that is not in its value."""
        self._dirty.add(key)

    def cover(self, devices: Iterable[int]) -> None:
        """Set the devices whose changes are delivered from now on; the values of all others are stale."""
        covered = frozenset(devices)
        for device in covered ^ self._covered:
            self._dirty.update((device, pin) for pin in self._devices.get(device, ()))
        self._covered = covered

    def apply_state(self, state: Mapping[str, Any], pins: frozenset[int] | None = None) -> None:
        """Take the present state of a device, from a snapshot. ``pins`` are those in it; None is all."""
        device = _device(state)
        if device is None:
            return
        values, pending, expired = (_by_pin(state.get(name)) for name in ("values", "pending", "expired"))
        known = self._devices.get(device, {})
        for pin in [pin for pin in known if pin not in values and (pins is None or pin in pins)]:
            self._remove(device, pin)
        for pin, raw in values.items():
            entry = known.get(pin)
            # A snapshot has no stamps: the one of the same value stays.
            is_same = entry is not None and _is_same(entry.raw, raw)
            ts, by = (entry.ts, entry.by) if entry is not None and is_same else (None, "")
            text = expired.get(pin)
            self._put(
                device, pin, _Entry(raw, ts, by, pending.get(pin) is True, text if isinstance(text, str) else None)
            )

    def apply_change(self, change: Mapping[str, Any]) -> list[Key]:
        """Take a change of a device from the stream; return the keys of its values."""
        device = _device(change)
        if device is None:
            return []
        if change.get("deleted") is True:
            self.forget(device)
            return []
        ts, by, pending = change.get("ts"), change.get("by"), _by_pin(change.get("pending"))
        keys = []
        for pin, raw in _by_pin(change.get("values")).items():
            keys.append((device, pin))
            if raw is None:
                self._remove(device, pin)
                continue
            entry = _Entry(raw, ts if isinstance(ts, int) else None, by if isinstance(by, str) else "")
            entry.is_pending = pending.pop(pin, False) is True
            self._put(device, pin, entry)
        for pin, is_pending in pending.items():
            self._change(device, pin, is_pending=is_pending is True)
        for pin, text in _by_pin(change.get("expired")).items():
            self._change(device, pin, expired_text=text if isinstance(text, str) else "")
        return keys

    def apply_listed(self, device: int, pin: int, raw: Any, ts: int | None, expired: str | None) -> None:
        """Take a value from a list, which may be older than what the stream has delivered meanwhile."""
        entry = self._devices.get(device, {}).get(pin)
        if entry is not None:
            if device in self._covered:
                if _is_same(entry.raw, raw) and entry.ts is None and ts is not None:
                    self._put(device, pin, attrs.evolve(entry, ts=ts))
                return
            if entry.ts is not None and (ts is None or ts < entry.ts):
                return
        if raw is not None:
            self._put(device, pin, _Entry(raw, ts, expired_text=expired))

    def forget(self, device: int) -> None:
        """Drop the values of a device."""
        for pin in tuple(self._devices.get(device, ())):
            self._remove(device, pin)

    def clear(self) -> None:
        """Drop everything."""
        for device in tuple(self._devices):
            self.forget(device)
        self._covered = frozenset()

    def _change(self, device: int, pin: int, **changes: Any) -> None:
        entry = self._devices.get(device, {}).get(pin)
        if entry is not None:
            self._put(device, pin, attrs.evolve(entry, **changes))

    def _put(self, device: int, pin: int, entry: _Entry) -> None:
        pins = self._devices.setdefault(device, {})
        self._devices.move_to_end(device)
        before = pins.get(pin)
        pins[pin] = entry
        if before is None:
            self._count += 1
            self._evict(device)
        if before != entry or type(before.raw) is not type(entry.raw):
            self._dirty.add((device, pin))

    def _evict(self, kept: int) -> None:
        while self._count > self._limit and len(self._devices) > 1:
            others = (device for device in self._devices if device not in self._covered and device != kept)
            device = next(others, None) or next(device for device in self._devices if device != kept)
            self._dirty.difference_update((device, pin) for pin in self._devices[device])
            self._count -= len(self._devices.pop(device))

    def _remove(self, device: int, pin: int) -> None:
        pins = self._devices.get(device, {})
        if pins.pop(pin, None) is not None:
            self._count -= 1
            self._dirty.add((device, pin))
            if not pins:
                del self._devices[device]


class Ticker:
    """The one clock of the screen: hands the changed keys to ``draw`` every `TICK` seconds, if there are any."""

    def __init__(self, values: Values, draw: Callable[[set[Key]], None]) -> None:
        self._values = values
        self._draw = draw

    async def run(self) -> None:
        """Tick until cancelled. A draw that takes long is not made up for by several at once."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + TICK, loop.time())
            await asyncio.sleep(due - loop.time())
            self.tick()

    def tick(self) -> None:
        """Draw what has changed now."""
        if dirty := self._values.take_dirty():
            self._draw(dirty)


def _device(message: Mapping[str, Any]) -> int | None:
    device = message.get("device")
    return device if isinstance(device, int) and not isinstance(device, bool) else None


def _by_pin(values: Any) -> dict[int, Any]:
    """Return an object by pin ("v3") by the pins' numbers, without names that are no pins."""
    if not isinstance(values, Mapping):
        return {}
    return {PINS[name]: value for name, value in values.items() if name in PINS}


def _is_same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and bool(left == right)
