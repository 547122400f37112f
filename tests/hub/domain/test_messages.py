"""Messages and their channels, which plugins contribute."""

from __future__ import annotations

import pytest

from hub.domain import DirectoryUser, Message, NoChannel, Recipient
from hub.errors import PluginError, TooMany, Unavailable
from hub.hookspecs import hookimpl
from hub.run import running

HELLO = Message("hello", Recipient("ann@example.org"))


class Pager:
    """A channel that accepts some kinds of messages, and fails with an error if it has one."""

    def __init__(self, name, *kinds, error=None):
        self.name, self.kinds, self.error, self.sent = name, kinds, error, []

    def accepts(self, message):
        if "broken" in self.kinds:
            raise RuntimeError("no battery")
        return message.kind in self.kinds

    async def send(self, message):
        if self.error is not None:
            raise self.error
        self.sent.append(message.kind)


class Pagers:
    PINWHEEL_HOOKS = 1

    def __init__(self, name, *channels):
        self.__name__, self.channels = name, channels

    @hookimpl
    def hub_channels(self, hub):
        return self.channels


async def test_without_a_channel_the_error_says_how_to_set_up_mail(hub):
    with pytest.raises(
        NoChannel, match=r"for the message 'hello' to 'ann@example.org': the table \[mail\] in hub.toml"
    ):
        await hub.messages.send(HELLO)


async def test_message_goes_to_the_first_channel_that_accepts_it(hub_config):
    deaf, pager, other = Pager("deaf"), Pager("pager", "hello"), Pager("other", "hello")
    async with running(hub_config, plugins=(Pagers("a", deaf, pager), Pagers("b", other))) as hub:
        await hub.messages.send(HELLO)
    assert ([], ["hello"], []) == (deaf.sent, pager.sent, other.sent)


async def test_failure_of_a_channel_is_the_plugins(hub_config):
    broken = Pager("broken", "broken")
    pager = Pager("pager", "hello", error=RuntimeError("no battery"))
    async with running(hub_config, plugins=(Pagers("a", broken, pager),)) as hub:
        with pytest.raises(Unavailable, match="The channel pager has failed; the message was not sent"):
            await hub.messages.send(HELLO)
        assert "hub_channels failed: RuntimeError('no battery')" in hub.plugins["a"].problem


async def test_error_for_the_sender_passes(hub_config):
    pager = Pager("pager", "hello", error=TooMany("At most 3 messages an hour."))
    async with running(hub_config, plugins=(Pagers("a", pager),)) as hub:
        with pytest.raises(TooMany, match="At most 3 messages"):
            await hub.messages.send(HELLO)
        assert "" == hub.plugins["a"].problem


async def test_two_channels_with_one_name_stop_the_start(hub_config):
    with pytest.raises(PluginError, match="pager comes from two plugins: a and b"):
        async with running(hub_config, plugins=(Pagers("a", Pager("pager")), Pagers("b", Pager("pager")))):
            pass


def test_recipient_of_a_user_has_what_channels_need():
    user = DirectoryUser(id=3, org=1, email="ann@example.org", name="Ann", role=1, locale="de")
    assert Recipient("ann@example.org", "Ann", "de", 3) == Recipient.of(user)


def test_data_of_a_message_is_not_in_its_repr():
    assert "secret" not in repr(Message("hello", Recipient("a@b.c"), {"link": "secret"}))
