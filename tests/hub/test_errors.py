"""Every error of ours has a status on every surface."""

from __future__ import annotations

import pytest

from client import remote
from connectors.http import endpoint as http
from connectors.mqtt import connection as mqtt
from connectors.native import session as native
from hub.errors import RequestError, StorageError, TooMany, translate


def kinds(cls):
    return [kind for sub in cls.__subclasses__() for kind in (sub, *kinds(sub))]


@pytest.mark.parametrize("kind", [*kinds(RequestError), StorageError], ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_on_every_surface(kind):
    error = kind.__new__(kind)

    assert 400 <= translate(error, http.STATUS) < 600
    assert translate(error, mqtt.REASONS) >= 0x80
    assert translate(error, native.STATUS) in set(native.Status) - {native.Status.OK}


def test_the_client_raises_what_the_hub_said():
    raised = {kind: status for status, kind in remote.ERRORS.items()}
    # That one also has a time.
    raised[TooMany] = 429
    assert raised == {kind: status for kind, status in http.STATUS.items() if kind is not StorageError}


def test_errors_that_clients_would_misread_are_not_used():
    """5 makes the C++ client drop the link; 9 sends Edgent back to provisioning, so only a bad token may say it."""
    assert 5 not in native.STATUS.values()
    assert ["NotAuthenticated"] == [kind.__name__ for kind, status in native.STATUS.items() if status == 9]
