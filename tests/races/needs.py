"""What a test needs of the machine."""

from __future__ import annotations

import os
import shutil

import pytest

SKIP_NOTHING = "API_LAYER_TESTS_SKIP_NOTHING"


def need_program(name: str) -> None:
    """Go on only where this program is installed: else the test is skipped, or fails where nothing may be skipped."""
    if shutil.which(name) is not None:
        return
    if os.environ.get(SKIP_NOTHING):
        pytest.fail(f"{name} is not installed, and {SKIP_NOTHING} is set")
    pytest.skip(f"{name} is not installed")
