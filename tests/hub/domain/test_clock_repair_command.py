"""The command `pinwheel clock --repair`, on a running and a stopped hub."""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import trio
from support.clock_repair import METER
from support.times import HOUR, MINUTE, Time
from support.values import write_value

from hub.config import load
from hub.run import running
from hub.testing import add_device

pytestmark = pytest.mark.usefixtures("small_slices")


def write_future_values(pinwheel, seconds):
    """Give a stopped hub one value with the right stamp, and two values and an event with stamps ``seconds`` ahead."""

    async def stamp():
        config = load(pinwheel.folder / "hub.toml").with_data(str(pinwheel.data))
        true = Time(int(time.time() * 1000) - HOUR)
        async with running(config, listen=False, clock=true.clock()) as hub:
            device, _ = await add_device(hub, METER, "Meter")
            await write_value(hub, device, 0, "1").durable()
        wrong = Time(true.wall + seconds * 1000)
        async with running(config, listen=False, clock=wrong.clock()) as hub:
            device = hub.devices.get(1)
            for value in "23":
                wrong.pass_(MINUTE)
                await write_value(hub, device, 0, value).durable()
            await hub.timeline.log(device, "hot")

    trio.run(stamp)


def values_of(pinwheel):
    lines = pinwheel("device", "history", "Meter", "V0", "--from", "0", "--to", "2100-01-01", "--json").out.splitlines()
    return [(line["ts"], line["value"]) for line in map(json.loads, lines)]


@pytest.mark.parametrize("runs", [True, False])
def test_command_repairs_a_running_and_a_stopped_hub(pinwheel, runs):
    write_future_values(pinwheel, 400_000)
    with pinwheel.running() if runs else nullcontext():
        state = pinwheel("clock").out
        assert "in the future  Meter (1): 2 values of 1 datastream, from" in state
        before = values_of(pinwheel)
        rejected = pinwheel("clock", "--repair", "--shift", "400000")
        assert 1 == rejected.code
        assert "Refusing to shift 2 values, 1 event and 2 other times after " in rejected.err
        assert "back by 400000 seconds without confirmation. Run again with --yes." in rejected.err
        assert before == values_of(pinwheel)
        too_small = pinwheel("clock", "--repair", "--shift", "10.5", "--yes", "--json")
        assert (1, "") == (too_small.code, too_small.out)
        assert "a shift by 10.5 seconds is too small: the newest stamp needs at least" in too_small.err.splitlines()[-1]
        done = pinwheel("clock", "--repair", "--shift", "400000", "--yes")
        assert 0 == done.code
        assert "2 values and 1 event shifted back by 400000 seconds, 2 other times corrected" in done.out
        assert 1 == len(list((pinwheel.data / "backups").glob("before-clock-repair-*.tar")))
        assert [before[0], *((at - 400_000_000, value) for at, value in before[1:])] == values_of(pinwheel)
        again = json.loads(pinwheel("clock", "--repair", "--drop", "--yes", "--json").out)
        assert {"shiftMs": None, "values": 0, "backup": None} == {
            key: again[key] for key in ("shiftMs", "values", "backup")
        }
        assert "there is nothing to repair" in pinwheel("clock", "--repair", "--drop").out
        assert "in the future" not in pinwheel("clock").out
        assert "state          following" in pinwheel("clock").out


def test_command_drops_values_of_one_device(pinwheel):
    write_future_values(pinwheel, 400_000)
    right = values_of(pinwheel)[:1]
    done = pinwheel("clock", "--repair", "--drop", "--device", "Meter", "--yes", "--json")
    done = json.loads(done.out)
    assert (2, 1, 1) == (done["values"], done["events"], done["deviceId"])
    assert Path(done["backup"]).is_file()
    assert right == values_of(pinwheel)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--shift", "5"), "--shift, --drop, --device and --yes go with --repair"),
        (("--device", "Meter"), "--shift, --drop, --device and --yes go with --repair"),
        (("--repair",), "--repair needs --shift SECONDS or --drop"),
        (("--repair", "--shift", "5", "--drop"), "not allowed with argument"),
        (("--repair", "--shift", "0"), "'0' must be a number of seconds, more than 0"),
        (("--repair", "--shift=-5"), "'-5' must be a number of seconds, more than 0"),
        (("--repair", "--shift", "1h"), "'1h' must be a number of seconds, more than 0"),
    ],
)
def test_wrong_use_of_the_command_is_rejected(pinwheel, arguments, message):
    done = pinwheel("clock", *arguments)
    assert (2, "") == (done.code, done.out)
    assert message in done.err.splitlines()[-1]


def test_command_rejects_an_unknown_device(pinwheel):
    write_future_values(pinwheel, 400_000)
    done = pinwheel("clock", "--repair", "--drop", "--device", "Mete", "--yes")
    assert (1, "") == (done.code, done.out)
    assert "there is no device named 'Mete'" in done.err.splitlines()[-1]
