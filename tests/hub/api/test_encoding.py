"""Results of handlers are encoded as JSON, long lists in slices."""

from __future__ import annotations

import json

import attrs
import pytest

from hub.api import Page, encode, to_json
from hub.api.schema import ROWS_PER_STEP
from hub.slices import SliceRunner


@attrs.frozen(kw_only=True)
class Row:
    device_id: int
    name: str


@attrs.frozen(kw_only=True)
class PageWithCursor:
    total_elements: int
    content: list[Row]
    next: str | None = None


@pytest.mark.parametrize("count", [0, 1, ROWS_PER_STEP, ROWS_PER_STEP + 1, 3 * ROWS_PER_STEP])
async def test_page_of_any_length_has_the_json_of_its_rows(count):
    rows = [Row(device_id=number, name=f'"{number}" ü\n') for number in range(count)]
    for page in (Page(content=rows, total_elements=7), PageWithCursor(content=rows, total_elements=7)):
        encoded = await encode(page, SliceRunner())
        assert json.dumps(to_json(page)).encode() == encoded


@pytest.mark.parametrize("value", [7, "content", [1] * 100, {"content": [1] * 100}])
async def test_result_that_is_no_page_is_encoded_as_it_is(value):
    assert json.dumps(value).encode() == await encode(value, SliceRunner())
