"""Checkpoints on a disk that cannot be read; whole trainings are in test_resume.py, faults by the dozen in storm/."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

from carspotter.errors import SourceError
from carspotter.training.checkpoint import Checkpoint, Checkpoints


def test_a_folder_that_cannot_be_read_is_told_and_nothing_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpointer takes a SourceError for a checkpoint that was not saved; any other would end the training."""
    files = Checkpoints(tmp_path, pytest.fail)
    files.write(Checkpoint({"number": 1}, {}))

    def broken(_: object = ".") -> NoReturn:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", broken)
        for look in (lambda: files.write(Checkpoint({"number": 2}, {})), files.newest):
            with pytest.raises(SourceError, match=r"cannot read .*checkpoints: Input/output error; check the disk"):
                look()
        assert not files.any
        files.clear()
    found = files.newest()
    assert found is not None
    assert found.facts["number"] == 1
