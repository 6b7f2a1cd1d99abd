"""What a test cannot have here."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def absent(what: str, forbids_skip: str) -> NoReturn:
    """Skip the test for want of this, or fail it where the variable is set: a green CI has seen everything."""
    if os.environ.get(forbids_skip):
        pytest.fail(f"{what} ({forbids_skip} forbids the skip)")
    pytest.skip(what)
