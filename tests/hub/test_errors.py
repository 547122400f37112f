"""Each error class has a status on each surface."""

from __future__ import annotations

import pytest

from client import http_messages
from connectors.http import endpoint as http
from connectors.mqtt import connection as mqtt
from connectors.native import session as native
from hub.errors import RequestError, StorageError, TooMany, translate


def subclasses(cls):
    return [kind for child in cls.__subclasses__() for kind in (child, *subclasses(child))]


@pytest.mark.parametrize("kind", [*subclasses(RequestError), StorageError], ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_on_every_surface(kind):
    error = kind.__new__(kind)

    assert 400 <= translate(error, http.STATUS) < 600
    assert translate(error, mqtt.REASONS) >= 0x80
    assert translate(error, native.STATUS) in set(native.Status) - {native.Status.OK}


def test_python_client_maps_each_status_to_the_error_class_of_the_hub():
    raised = {kind: status for status, kind in http_messages.ERRORS.items()}
    # Raised apart from the table, since it also has a time.
    raised[TooMany] = 429
    assert raised == {kind: status for kind, status in http.STATUS.items() if kind is not StorageError}


def test_native_statuses_that_clients_misinterpret_are_not_used():
    """5 makes the C++ client drop the link; 9 sends Edgent back to provisioning, so it is sent for an invalid token only."""
    assert 5 not in native.STATUS.values()
    assert ["NotAuthenticated"] == [kind.__name__ for kind, status in native.STATUS.items() if status == 9]
