from __future__ import annotations

from datetime import UTC, datetime

import pytest

from hub.parsing.timezones import changes, iso, names, offset, offsets, posix_rule

#: 2020-10-06T10:16:26+03:00, the moment of the example in docs.blynk.io, Timezone / Location.
EXAMPLE = 1_601_968_586_000
SUMMER = int(datetime(2026, 7, 1, tzinfo=UTC).timestamp() * 1000)
WINTER = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)


def test_kiev_matches_the_example_of_docs_blynk_io():
    assert (120, 60) == offsets("Europe/Kiev", EXAMPLE)
    assert "EET-2EEST,M3.5.0/3,M10.5.0/4" == posix_rule("Europe/Kiev")
    assert "2020-10-06T10:16:26+03:00" == iso("Europe/Kiev", EXAMPLE)
    assert [(1_603_587_600, 120), (1_616_893_200, 180)] == changes("Europe/Kiev", EXAMPLE)


def test_utc_has_no_offset_and_never_changes():
    assert 0 == offset("UTC", EXAMPLE)
    assert (0, 0) == offsets("UTC", EXAMPLE)
    assert "UTC0" == posix_rule("UTC")
    assert [] == changes("UTC", EXAMPLE)
    assert "2020-10-06T07:16:26+00:00" == iso("UTC", EXAMPLE)


@pytest.mark.parametrize(
    ("zone", "winter", "summer"),
    [
        ("America/New_York", (-300, 0), (-300, 60)),
        ("America/St_Johns", (-210, 0), (-210, 60)),
        ("Asia/Kolkata", (330, 0), (330, 0)),
        ("Asia/Kathmandu", (345, 0), (345, 0)),
        ("Australia/Lord_Howe", (630, 30), (630, 0)),
        ("Pacific/Auckland", (720, 60), (720, 0)),
    ],
)
def test_offsets_are_standard_offset_and_daylight_saving(zone, winter, summer):
    assert winter == offsets(zone, WINTER)
    assert summer == offsets(zone, SUMMER)
    assert sum(winter) == offset(zone, WINTER)


def test_zone_without_daylight_saving_has_no_changes():
    assert [] == changes("Asia/Kolkata", EXAMPLE)


def test_change_is_the_first_second_with_the_new_offset():
    for zone in ("Europe/Kiev", "America/New_York", "Australia/Lord_Howe"):
        for moment, minutes in changes(zone, WINTER):
            assert minutes == offset(zone, moment * 1000)
            assert minutes != offset(zone, moment * 1000 - 1000)


def test_next_change_is_later_than_now():
    [(first, _), _] = changes("Europe/Kiev", EXAMPLE)

    assert first == changes("Europe/Kiev", first * 1000 - 1000)[0][0]
    assert first < changes("Europe/Kiev", first * 1000)[0][0]


def test_number_of_changes_can_be_limited():
    assert 1 == len(changes("Europe/Kiev", EXAMPLE, count=1))


def test_every_zone_has_a_posix_rule_and_consistent_offsets():
    for zone in names():
        assert posix_rule(zone)
        assert offset(zone, EXAMPLE) == sum(offsets(zone, EXAMPLE))


def test_names_are_those_of_the_iana_database():
    assert {"UTC", "Europe/Kiev", "Europe/Kyiv", "America/Argentina/Buenos_Aires"} <= names()
    assert not {"", "Mars/Olympus_Mons", "../UTC"} & names()
