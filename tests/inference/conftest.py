"""A tiny real bundle for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from carspotter.inference.bundle import Bundle
from helpers.tiny import write_tiny_bundle


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Bundle:
    """Three colours, 48x32 photos."""
    return write_tiny_bundle(tmp_path / "models" / "tiny")
