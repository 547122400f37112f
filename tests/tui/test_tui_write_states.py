"""The states of a write: whatever the network drops, delays or repeats, the screen ends with the truth."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tui.store.write_states import (
    FLASH,
    NOT_CONFIRMED,
    NOT_TAKEN,
    REPLACED,
    SETTLE,
    SHOWN,
    TIMEOUT,
    Phase,
    WriteRequest,
    WriteStates,
    is_same,
)


def sent(value=1, now=0.0):
    """A write that the hub has stored."""
    states = WriteStates()
    states.want(WriteRequest(value))
    assert states.poll(now)
    states.accepted(now)
    assert Phase.SENT is states.phase
    return states


def echo(states, value, by="api", now=0.1, is_pending=False):
    states.echo(value, by, is_pending=is_pending, now=now)
    return states.phase


def test_write_is_wanted_sending_sent_and_done():
    states = WriteStates()
    states.want(WriteRequest(1))
    assert Phase.WANTED is states.phase
    assert WriteRequest(1) == states.poll(0)
    assert Phase.SENDING is states.phase
    assert states.poll(0) is None
    states.accepted(0)
    assert Phase.SENT is states.phase
    assert Phase.DONE is echo(states, 1)


def test_echo_before_the_answer_counts():
    for is_pending, phase in ((False, Phase.DONE), (True, Phase.WAITING)):
        states = WriteStates()
        states.want(WriteRequest(1))
        states.poll(0)
        assert Phase.SENDING is echo(states, 1, is_pending=is_pending)
        states.accepted(0)
        assert phase is states.phase


def test_board_confirms_refuses_or_says_nothing():
    states = sent()
    assert Phase.WAITING is echo(states, 1, is_pending=True)
    assert Phase.WAITING is echo(states, 1, is_pending=True)
    assert Phase.DONE is echo(states, 1, "device")
    # The board may choose another value; that is its answer.
    states = sent()
    echo(states, 1, is_pending=True)
    assert Phase.DONE is echo(states, 2, "device")
    states = sent()
    echo(states, 1, is_pending=True)
    assert Phase.TAKEN_BACK is echo(states, 0, "confirmation", now=3)
    assert NOT_TAKEN == states.sentence
    states.tick(3 + FLASH, is_live=True)
    assert Phase.DONE is states.phase
    # Without a value from before, the hub keeps the new one.
    states = sent()
    echo(states, 1, is_pending=True)
    states.confirmation_ended(3)
    assert (Phase.UNCONFIRMED, NOT_CONFIRMED) == (states.phase, states.sentence)


def test_write_that_is_taken_back_in_one_message_is_reported():
    """The stream merges a value and its taking back into the last value."""
    states = sent()
    assert Phase.SENT is echo(states, 0, "confirmation", now=1)
    states.tick(1 + SETTLE, is_live=True)
    assert Phase.TAKEN_BACK is states.phase


def test_late_echo_of_another_value_does_not_end_the_write_at_once():
    states = sent()
    assert Phase.SENT is echo(states, 7, "device", now=1)
    assert Phase.DONE is echo(states, 1, now=1.1)
    states = sent()
    echo(states, 7, "device", now=1)
    states.tick(1 + SETTLE / 2, is_live=True)
    assert Phase.SENT is states.phase
    states.tick(1 + SETTLE, is_live=True)
    assert Phase.DONE is states.phase


def test_clamped_value_ends_the_write():
    states = sent(1000)
    echo(states, 100, "api", now=1)
    states.tick(1 + SETTLE, is_live=True)
    assert Phase.DONE is states.phase


def test_lost_echo_ends_the_write_unless_the_link_is_lost():
    states = sent()
    states.tick(TIMEOUT, is_live=False)
    assert Phase.SENT is states.phase
    states.tick(TIMEOUT, is_live=True)
    assert Phase.DONE is states.phase


@pytest.mark.parametrize(
    ("is_waiting", "value", "is_pending", "phase", "sentence"),
    [
        (False, 1, False, Phase.DONE, ""),
        (False, 0, False, Phase.DONE, ""),
        (False, 1, True, Phase.WAITING, ""),
        (True, 1, True, Phase.WAITING, ""),
        (True, 1, False, Phase.DONE, ""),
        (True, 0, True, Phase.DONE, ""),
        (True, 0, False, Phase.TAKEN_BACK, REPLACED),
    ],
)
def test_snapshot_after_a_loss_ends_the_write_by_the_present_value(is_waiting, value, is_pending, phase, sentence):
    states = sent()
    if is_waiting:
        echo(states, 1, is_pending=True)
    states.resynchronize(value, is_pending=is_pending, now=1)
    assert (phase, sentence) == (states.phase, states.sentence)


def test_newer_value_replaces_the_wanted_one_and_is_sent_after_the_answer():
    states = WriteStates()
    states.want(WriteRequest(1))
    states.poll(0)
    for value in (2, 3):
        states.want(WriteRequest(value))
    assert (Phase.SENDING, 3) == (states.phase, states.wanted)
    assert states.poll(0) is None
    echo(states, 1)
    states.accepted(0)
    assert 3 == states.poll(0).value
    assert Phase.SENDING is echo(states, 1)
    states.accepted(0)
    assert Phase.SENT is states.phase


def test_refused_write_shows_the_sentence_for_a_while():
    states = WriteStates()
    states.want(WriteRequest(1))
    states.poll(0)
    states.failed("V3 takes 0 to 1.", 1, is_final=True)
    assert (Phase.REFUSED, "V3 takes 0 to 1.") == (states.phase, states.sentence)
    assert Phase.REFUSED is echo(states, 1)
    states.tick(1 + FLASH, is_live=False)
    assert Phase.DONE is states.phase


def test_newer_value_is_sent_after_a_failure():
    states = WriteStates()
    states.want(WriteRequest(1))
    states.poll(0)
    states.want(WriteRequest(2))
    states.failed("the hub does not answer", 1)
    assert 2 == states.poll(1).value


def test_limited_write_waits_as_long_as_the_hub_says():
    states = WriteStates()
    states.want(WriteRequest(1))
    states.poll(0)
    states.failed("wait", 0, retry_after=3)
    assert (Phase.WANTED, "wait", 3) == (states.phase, states.sentence, states.send_at)
    assert states.poll(2.9) is None
    assert 1 == states.poll(3).value
    states.failed("wait", 3, retry_after=TIMEOUT + 1)
    assert Phase.REFUSED is states.phase


def test_slider_pauses_and_the_last_value_is_sent():
    states, values = WriteStates(), []
    for step in range(100):
        now = step / 64
        states.want(WriteRequest(step, 0.25))
        if request := states.poll(now):
            values.append((now, request.value))
            states.accepted(now)
    assert [0, 16, 32, 48, 64, 80, 96] == [value for _, value in values]
    assert 99 == states.poll(1.75).value


def test_button_that_is_released_at_once_is_pressed_all_the_same():
    states = WriteStates()
    states.want(WriteRequest(1, is_press=True))
    states.want(WriteRequest(0, must_arrive=True))
    assert 1 == states.poll(0).value
    states.accepted(0)
    assert 0 == states.poll(0).value
    states.accepted(0)
    assert not states.must_arrive


def test_off_is_repeated_until_it_is_acknowledged():
    states, pauses, now = WriteStates(), [], 0.0
    states.want(WriteRequest(1, is_press=True))
    states.poll(now)
    states.want(WriteRequest(0, must_arrive=True))
    # Whether it is on is not known.
    states.failed("the hub does not answer", now)
    for _ in range(7):
        assert states.poll(states.send_at).value == 0
        now = states._last_sent
        states.failed("the hub does not answer", now)
        assert (Phase.WANTED, "the hub does not answer") == (states.phase, states.sentence)
        pauses.append(states.send_at - now)
    assert [0.5, 1, 2, 4, 5, 5, 5] == pauses
    states.poll(states.send_at)
    states.accepted(100)
    assert Phase.SENT is states.phase


def test_off_is_not_sent_when_the_press_was_rejected():
    states = WriteStates()
    states.want(WriteRequest(1, is_press=True))
    states.poll(0)
    states.want(WriteRequest(0, must_arrive=True))
    states.failed("not allowed", 0, is_final=True)
    assert Phase.REFUSED is states.phase
    assert states.poll(100) is None


@pytest.mark.parametrize(
    ("wanted", "value", "same"),
    [(1, 1.0, True), ("1", 1, True), ("21.50", 21.5, True), ("a", "a", True), ("a", 1, False), ([1], 1, False)]
    + [(None, 0, False), ([1, 2], [1, 2], True)],
)
def test_numbers_are_compared_by_value(wanted, value, same):
    assert same == is_same(wanted, value)


class Network:
    """A hub, its stream, a board that confirms or does not, and a network that fails as the test says."""

    def __init__(self, has_confirm):
        self.has_confirm = has_confirm
        self.value = self.shown = 0
        self.pending, self.before = False, 0
        self.states = WriteStates()
        self.request = None
        self.messages = []
        self.now = 0.0
        self.sent = []
        self.is_live = True
        self.was_on = False

    def step(self, seconds):
        self.now += seconds
        self.states.tick(self.now, is_live=self.is_live)
        if (request := self.states.poll(self.now)) is not None:
            assert self.request is None
            self.request = request
            self.sent.append((self.now, request))

    def set(self, value, by, *, pending=False):
        self.value, self.pending = value, pending
        if self.is_live:
            self.messages.append((value, by, pending))

    def execute(self):
        if not self.pending:
            self.before = self.value
        self.was_on = self.was_on or self.request.is_press
        self.set(self.request.value, "api", pending=self.has_confirm)

    def answer(self, outcome):
        if self.request is None:
            return
        if outcome in ("ok", "answer lost"):
            self.execute()
        self.request = None
        if outcome == "ok":
            self.states.accepted(self.now)
        else:
            self.states.failed(outcome, self.now, is_final=outcome == "rejected")

    def deliver(self, *, twice=False, merge=False):
        if merge and self.messages:
            del self.messages[:-1]
        if self.messages:
            value, by, pending = self.messages.pop(0)
            for _ in range(1 + twice):
                self.shown = value
                self.states.echo(value, by, is_pending=pending, now=self.now)

    def cut(self):
        self.is_live = False
        self.messages.clear()

    def reconnect(self):
        if not self.is_live:
            self.is_live = True
            self.shown = self.value
            self.states.resynchronize(self.value, is_pending=self.pending, now=self.now)

    def board(self, does):
        if does == "reports":
            self.set(5, "device")
        elif self.pending and does == "confirms":
            self.set(self.value, "device")
        elif self.pending:
            self.set(self.before, "confirmation")


STEPS = st.one_of(
    st.tuples(st.just("want"), st.integers(0, 3), st.sampled_from([0.0, 0.2])),
    st.tuples(st.just("press")),
    st.tuples(st.just("release")),
    st.tuples(st.just("step"), st.sampled_from([0.05, 0.3, 2.0, 11.0])),
    st.tuples(st.just("answer"), st.sampled_from(["ok", "ok", "request lost", "answer lost", "rejected"])),
    st.tuples(st.just("deliver"), st.booleans(), st.booleans()),
    st.tuples(st.sampled_from(["cut", "reconnect"])),
    st.tuples(st.just("board"), st.sampled_from(["reports", "confirms", "refuses"])),
)


@settings(max_examples=400, deadline=None)
@given(st.booleans(), st.lists(STEPS, max_size=40))
def test_screen_ends_with_the_truth(has_confirm, steps):
    network, is_pressed, wanted = Network(has_confirm), False, []
    for name, *args in steps:
        if name == "want" and not is_pressed:
            network.states.want(WriteRequest(*args))
            wanted.append(args[0])
        elif name == "press" and not is_pressed:
            network.states.want(WriteRequest("on", is_press=True))
            is_pressed = True
        elif name == "release" and is_pressed:
            network.states.want(WriteRequest("off", must_arrive=True))
            is_pressed = False
        elif name == "deliver":
            network.deliver(twice=args[0], merge=args[1])
        elif name not in ("want", "press", "release"):
            getattr(network, name)(*args)
        network.step(0)
        assert (network.states.phase in SHOWN) >= (network.request is not None)
    if is_pressed:
        network.states.want(WriteRequest("off", must_arrive=True))
    network.reconnect()
    for _ in range(20):
        network.step(6)
        network.answer("ok")
        if network.pending:
            network.board("refuses")
        while network.messages:
            network.deliver()
    assert Phase.DONE is network.states.phase
    assert network.shown == network.value
    assert not network.states.must_arrive
    # Values are sent in their order, the last one included, and those of a slider not too often.
    values = [request.value for _, request in network.sent if not request.is_press and not request.must_arrive]
    rest = iter(wanted)
    assert all(value in rest for value in values if isinstance(value, int))
    for (before, _), (now, request) in zip(network.sent, network.sent[1:], strict=False):
        assert now - before >= request.interval - 1e-9
    if not has_confirm and network.was_on and not wanted and ("board", "reports") not in steps:
        assert "off" == network.value
