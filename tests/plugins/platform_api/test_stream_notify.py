"""Live stream: new events tell whether they notify users."""

from __future__ import annotations

from hub.model import LOCAL


async def test_new_event_tells_whether_it_notifies_and_a_changed_one_does_not(hub, device, subscriber):
    await subscriber.subscribe(1, "events")
    event = await hub.timeline.log(device, "full", "to the brim")
    assert True is (await subscriber.receive())["notify"]
    await hub.timeline.log(device, "sys_ota", "10%")
    assert False is (await subscriber.receive())["notify"]
    await hub.timeline.comment(device, event.id, "seen", LOCAL)
    changed = await subscriber.receive()
    assert "to the brim" == changed["event"]["description"]
    assert "notify" not in changed
