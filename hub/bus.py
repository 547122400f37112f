"""The bus: subscriptions to facts. Emitting is sync and calls a precomputed tuple: no pluggy, no task, no channel."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from hub.facts import Fact, ValueWritten

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Fact)
Subscriber = Callable[[Any], None]


class Bus:
    def __init__(self) -> None:
        self._subscribers: dict[type[Fact], tuple[Subscriber, ...]] = {}
        #: Subscribers to the values of one device, by its id.
        self._by_device: dict[int, tuple[Subscriber, ...]] = {}
        self._report: Callable[[Subscriber, Exception], None] = _log_failure

    def report_failures_to(self, report: Callable[[Subscriber, Exception], None]) -> None:
        """Call ``report(subscriber, error)`` when a subscriber raises, instead of logging it."""
        self._report = report

    def subscribe(self, fact: type[F], fn: Callable[[F], None], device: int | None = None) -> Callable[[], None]:
        """Call ``fn`` with every such fact from now on; with ``device``, only with values of that device.

        ``fn`` is sync and must not block. Returns a function that ends the subscription.
        """
        if device is not None and fact is not ValueWritten:
            raise ValueError("only ValueWritten can be subscribed to by device")
        table: dict[Any, tuple[Subscriber, ...]] = self._subscribers if device is None else self._by_device
        key = fact if device is None else device
        table[key] = (*table.get(key, ()), fn)

        def unsubscribe() -> None:
            rest = tuple(subscriber for subscriber in table.get(key, ()) if subscriber is not fn)
            if rest:
                table[key] = rest
            else:
                table.pop(key, None)

        return unsubscribe

    def emit(self, fact: Fact) -> None:
        """Call every subscriber of the fact; one that raises does not keep it from the others."""
        for fn in self._subscribers.get(type(fact), ()):
            try:
                fn(fact)
            except Exception as error:  # noqa: BLE001 - a subscriber's fault is the subscriber's
                self._report(fn, error)

    def wants(self, fact: type[Fact]) -> bool:
        """Whether a fact of this class has a subscriber; spares making one that has none."""
        return fact in self._subscribers

    def wants_value(self, device: int) -> bool:
        """Whether a value of this device has a subscriber."""
        return ValueWritten in self._subscribers or device in self._by_device

    def emit_value(self, fact: ValueWritten) -> None:
        """`emit` for values: also to the subscribers of this device alone."""
        self.emit(fact)
        for fn in self._by_device.get(fact.device.id, ()):
            try:
                fn(fact)
            except Exception as error:  # noqa: BLE001
                self._report(fn, error)


def _log_failure(fn: Subscriber, error: Exception) -> None:
    log.error("subscriber %s failed: %r", getattr(fn, "__qualname__", fn), error)
