"""The client `blynklib` from PyPI, driven by a test: ``python blynklib_client.py HOST PORT TOKEN``.

It reads and prints the same lines as `js_client.js`; `blynklib` has no ``syncAll``.
"""

import contextlib
import json
import select
import sys

import blynklib

#: Seconds; the library detects a dead connection after one and a half heartbeats.
HEARTBEAT = 2

host, port, token = sys.argv[1:]
out = sys.stdout


def report(event, **fields):
    print(json.dumps({"event": event, **fields}), file=out, flush=True)


def log(*words):
    text = " ".join(map(str, words))
    print(text, file=sys.stderr, flush=True)
    if text.startswith("[ERROR]"):
        report("error", reason=text.removeprefix("[ERROR]: ").partition("\n")[0])


with contextlib.redirect_stdout(sys.stderr):
    blynk = blynklib.Blynk(token, server=host, port=int(port), heartbeat=HEARTBEAT, log=log)


@blynk.handle_event("write V*")
def written(pin, values):
    report("write", pin=pin, values=values)


@blynk.handle_event("connect")
def connected():
    report("connected")


@blynk.handle_event("disconnect")
def disconnected():
    report("disconnected")


while True:
    blynk.run()
    while select.select([sys.stdin], [], [], 0)[0]:
        line = sys.stdin.buffer.raw.readline()
        if not line:
            sys.exit()
        command = json.loads(line)
        if "write" in command:
            blynk.virtual_write(*command["write"])
        elif "sync" in command:
            blynk.virtual_sync(*command["sync"])
        elif "notify" in command:
            blynk.notify(command["notify"])
