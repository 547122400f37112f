"""A hub without a network for the console's store: it records calls, and answers them when a test lets it."""

from __future__ import annotations

import asyncio
from collections import deque


class FakeHub:
    """Answers calls with ``answer(call)``, after `release` while it is held. An answer that is an exception is raised."""

    def __init__(self, answer):
        self.answer = answer
        self.calls = []
        self.busy = 0
        self._held = deque()
        self._is_holding = False

    def hold(self):
        """Answer no call until it is released."""
        self._is_holding = True

    def release(self, count=None, *, last_first=False):
        """Answer waiting calls (all, and then each at once, without a count)."""
        if count is None:
            self._is_holding, count = False, len(self._held)
        for _ in range(count):
            waiting = self._held.pop() if last_first else self._held.popleft()
            waiting.set_result(None)

    async def __call__(self, call):
        self.calls.append(call)
        answer = self.answer(call)
        self.busy += 1
        try:
            if self._is_holding:
                waiting = asyncio.get_running_loop().create_future()
                self._held.append(waiting)
                await waiting
        finally:
            self.busy -= 1
        if isinstance(answer, Exception):
            raise answer
        return answer


async def settle():
    """Let all tasks run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


def found_device(number, **fields):
    """A device as a search returns it."""
    return {
        "id": number,
        "orgId": 1,
        "name": f"Sensor {number:05}",
        "templateId": "TMPL0weather",
        "templateName": "Weather station",
        "ownerUserId": None,
        "status": "Online",
        "createdAt": 0,
        "activatedAt": None,
        "activatedBy": None,
        "lastReportedAt": 1000,
        "hardwareInfo": {},
        "tags": [],
        "locationId": None,
        "orgName": "Acme",
        "templateVersion": 3,
        "online": True,
        "statusKey": "online",
        "values": None,
        "metadata": None,
        **fields,
    }


def search_answer(devices):
    """Answers searches like a hub with these devices."""

    def answer(call):
        body = call.json_body
        first = int(body["after"]) if "after" in body else body["page"] * body["size"]
        content = devices[first : first + body["size"]]
        end = first + len(content)
        return {"content": content, "totalElements": len(devices), "next": str(end) if end < len(devices) else None}

    return answer
