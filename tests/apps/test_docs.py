"""The page about the command line is what the commands say."""

from __future__ import annotations

import runpy

import pytest


def test_cli_page_is_not_stale(pytestconfig: pytest.Config) -> None:
    root = pytestconfig.rootpath
    page = runpy.run_path(str(root / "scripts" / "write_cli_docs.py"))["render"]()
    assert (root / "docs" / "cli.md").read_text(encoding="utf-8") == page, "docs/cli.md is stale: run `make docs`"
