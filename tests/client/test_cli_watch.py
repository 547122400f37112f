"""``pinwheel device watch``."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import threading

from support.command import TOKEN
from support.patience import brief

from connectors.native.protocol import Cmd, frame


def test_watch_prints_connections_and_values(running_hub):
    _, number, token = running_hub.add()
    with running_hub.started("device", "watch", number) as watch:
        assert "offline" in watch.stdout.readline()
        with running_hub.dial() as device:
            device.sendall(frame(Cmd.HW_LOGIN, 1, (token,)) + frame(Cmd.HARDWARE, 2, ("vw", "0", "21.50")))
            assert "online" in watch.stdout.readline()
            assert ["V0", "21.5"] == watch.stdout.readline().split()[-2:]
        assert "offline" in watch.stdout.readline()
        watch.send_signal(signal.SIGINT)
        _, err = watch.communicate()

        assert (130, "") == (watch.returncode, err)


def test_watch_prints_json_lines(running_hub):
    _, number, _ = running_hub.add()
    with running_hub.started("device", "watch", number, "--json") as watch:
        assert json.loads(watch.stdout.readline())["online"] is False
        assert 0 == running_hub("device", "write", number, "V0", "21.5").code
        message = json.loads(watch.stdout.readline())

        assert (number, {"v0": 21.5}) == (message["device"], message["values"])


def test_watch_prints_frames_without_tokens(running_hub):
    _, number, token = running_hub.add()
    with running_hub.started("device", "watch", number, "--wire") as watch, running_hub.dial() as device:
        device.sendall(frame(Cmd.HW_LOGIN, 1, (token,)))
        frames = repeat_until(
            lambda: device.sendall(frame(Cmd.INTERNAL, 2, ("meta", "get", "Auth Token")) + frame(Cmd.PING, 3)),
            lines_of(watch),
            lambda line: "RESPONSE #3 200" in line,
        )

    assert [line for line in frames if "<-  INTERNAL #2 meta get Auth Token" in line]
    assert [line for line in frames if "->  INTERNAL #2 meta Auth Token" in line]
    assert [] == [line for line in frames if token in line]


def lines_of(process):
    """Return a queue of the lines that a process prints."""
    lines = queue.SimpleQueue()

    def read():
        # The test may close the pipe first.
        with contextlib.suppress(ValueError):
            for line in process.stdout:
                lines.put(line)

    threading.Thread(target=read, daemon=True).start()
    return lines


def repeat_until(act, lines, wanted):
    """Return the lines up to a ``wanted`` one. Repeats ``act``, because a watcher sees only what happens after its start."""
    lines_so_far = [""]
    while not wanted(lines_so_far[-1]):
        act()
        with contextlib.suppress(queue.Empty):
            lines_so_far.append(lines.get(timeout=brief(0.05)))
    return lines_so_far


def test_watch_prints_earlier_and_new_rejections(running_hub):
    assert 9 == running_hub.login_status(TOKEN.format("1"))
    with running_hub.started("device", "watch", "--refused") as watch:
        lines = lines_of(watch)
        earlier = repeat_until(lambda: None, lines, lambda line: "ending …e1" in line)
        since = repeat_until(
            lambda: running_hub.login_status(TOKEN.format("2")), lines, lambda line: "ending …e2" in line
        )

    assert "127.0.0.1" in earlier[-1]
    assert "127.0.0.1" in since[-1]


def test_watch_needs_either_a_device_or_rejections(running_hub):
    _, number, _ = running_hub.add()

    assert [2, 2] == [running_hub("device", "watch", *arguments).code for arguments in ((), (number, "--refused"))]


def test_watch_and_simulate_need_a_running_hub(pinwheel):
    for arguments in (("watch", "--refused"), ("simulate", "--template", "TMPL0cli")):
        done = pinwheel("device", *arguments)

        assert (1, "the hub is not running; start it with: pinwheel run") == (done.code, done.error)
