"""Bench ``kill9``: no acknowledged value is lost when the hub is killed."""

from __future__ import annotations

import random
import sys
import threading
import time
from typing import Any

from bench import load
from bench.hub_process import DATASTREAMS, HubProcess

#: Seconds that a load lasts at most; the hub is killed long before.
LOAD_SECONDS = 30.0


def kill9(*, connections: int, rounds: int, transport: str, seed: int | None, verbose: bool) -> dict[str, Any]:
    """Kill the hub under load, again and again; no acknowledged value may be missing afterwards."""
    chance = random.Random(seed)
    acknowledged: dict[str, list[int]] = {}
    protocol = load.UPDATE_PROTOCOLS[transport]
    with HubProcess(verbose=verbose) as hub:
        tokens = hub.add_devices(connections)
        for number in range(rounds):
            if number:
                hub.start()
            thread = threading.Thread(
                target=load.acknowledged_load,
                args=(protocol, hub.address, tokens, LOAD_SECONDS, None, acknowledged),
            )
            thread.start()
            time.sleep(chance.uniform(0.05, 1.0))
            hub.kill()
            thread.join()
            print(f"\r{number + 1}/{rounds}", end="", file=sys.stderr)
        print(file=sys.stderr)
        stored = set(hub.stored_values())
        # Series are numbered device by device. The values went to the first datastream of each.
        expected = {
            (number * DATASTREAMS + 1, float(value))
            for number, token in enumerate(tokens)
            for value in acknowledged.get(token, ())
        }
        return {"rounds": rounds, "acknowledged": len(expected), "lost": len(expected - stored)}
