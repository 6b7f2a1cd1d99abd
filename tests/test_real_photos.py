"""Where real photos must be seen, their absence is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

A_REAL_TEST = "tests/apps/test_check.py::test_the_competitions_table_without_photos_is_one_line"


@pytest.mark.parametrize(("require", "code", "said"), [("", 0, "1 skipped"), ("1", 1, "1 error")])
@pytest.mark.slow
def test_absent_photos_skip_loudly_or_fail(
    require: str, code: int, said: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    absent = str(tmp_path / "absent")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", A_REAL_TEST],
        env=os.environ | {"CARSPOTTER_SHARED": absent, "CARSPOTTER_REQUIRE_REAL": require},
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stdout
    assert said in done.stdout
    assert f"no real photos at {absent}" in done.stdout
