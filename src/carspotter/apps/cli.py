"""The command line: parse, call, print. What a command needs is imported when it runs.

`carspotter --help` must answer at once, so nothing here may import torch, onnxruntime, mlflow or a table library.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import carspotter
from carspotter.apps.commands import (
    answers,
    audit,
    backbones,
    batch,
    check,
    demo,
    evaluate,
    explain,
    export,
    lot,
    lr,
    mine,
    pretrain,
    recipes,
    runs,
    serve,
    sweep,
    train,
)
from carspotter.apps.console import say
from carspotter.apps.faults import exit_code

EPILOG = (
    "Exit codes: 0 done; 1 our fault; 2 wrong usage, or a source that cannot be used; 3 finished, some photos refused; "
    "130 or 143 interrupted."
)

app = typer.Typer(
    name="carspotter",
    help="Name the car model in a photo: train, check and use a classifier on your own photos, on a plain CPU.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: no import of rich, and the same text in docs/cli.md
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("check")(check.check)
app.command("train")(train.train)
app.command("pretrain")(pretrain.pretrain)
app.command("sweep")(sweep.sweep)
app.command("lr")(lr.lr)
app.command("submit")(answers.submit)
app.command("predict")(answers.predict)
app.command("batch")(batch.batch)
app.command("audit")(audit.audit)
app.command("evaluate")(evaluate.evaluate)
app.command("explain")(explain.explain)
app.command("mine")(mine.mine)
app.command("lot")(lot.lot)
app.command("serve")(serve.serve)
app.command("export")(export.export)
app.add_typer(runs.app, name="runs")
app.add_typer(recipes.app, name="recipes")
app.command("backbones")(backbones.backbones)
app.command("demo")(demo.demo)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"carspotter {carspotter.__version__}")
        raise typer.Exit


@app.callback()
def carspotter_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it, and end.")
    ] = False,
) -> None:
    """What stands before a command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after `carspotter`; None takes the process's own.

    Returns:
        The exit code, see `carspotter.errors`.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a letter shows its code instead of failing
            stream.reconfigure(errors="backslashreplace")
    words = sys.argv[1:] if argv is None else list(argv)
    return exit_code(lambda: app(args=words, prog_name="carspotter"))


if __name__ == "__main__":
    sys.exit(main())
