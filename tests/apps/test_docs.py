"""The page about the command line is what the commands say."""

from __future__ import annotations

import runpy

import pytest
import typer

from carspotter.apps.cli import app


def test_cli_page_is_not_stale(pytestconfig: pytest.Config) -> None:
    root = pytestconfig.rootpath
    page = runpy.run_path(str(root / "scripts" / "write_cli_docs.py"))["render"]()
    assert (root / "docs" / "cli.md").read_text(encoding="utf-8") == page, "docs/cli.md is stale: run `make docs`"


def test_every_command_that_asks_a_model_lets_another_runtime_compute() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    asks = {name: {one.name for one in command.params} for name, command in commands.items()}
    asks = {name: params for name, params in asks.items() if params & {"model", "models"}}
    assert len(asks) > 8
    assert [name for name, params in asks.items() if not params & {"runtime", "to"}] == []
