from __future__ import annotations

from pathlib import Path

import pytest
from support.console import Screens


@pytest.fixture
def screens(request):
    return Screens(Path(request.path).parent / "screens", request.config.getoption("--update-screens"))
