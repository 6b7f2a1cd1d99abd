"""Write docs/cli.md from the commands' own help, so that it cannot go stale (a test compares).

python scripts/write_cli_docs.py
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import typer

from carspotter.apps.cli import app, main

TARGET = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
HEADER = """# The command line

Written by `make docs` from the commands themselves; a test compares.
"""


def render() -> str:
    """The whole page."""
    return HEADER + "".join(f"\n## {' '.join(('carspotter', *words))}\n\n{_help(words)}" for words in _commands())


def _commands() -> Iterator[tuple[str, ...]]:
    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield words
        for name, child in getattr(command, "commands", {}).items():
            yield from walk(child, (*words, name))

    return walk(typer.main.get_command(app), ())


def _help(words: tuple[str, ...]) -> str:
    shown = io.StringIO()
    with patch.dict(os.environ, {"COLUMNS": "100"}), contextlib.redirect_stdout(shown):
        main([*words, "--help"])
    return f"```text\n{shown.getvalue().rstrip()}\n```\n"


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
