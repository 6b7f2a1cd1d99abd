"""`export`: a smaller network that may stand in for a model, or is refused with the figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carspotter.apps import options
from carspotter.apps.console import note, notes, progress, say, table
from carspotter.errors import TrainingError

if TYPE_CHECKING:
    from carspotter.training.quantize import Measured

Judging = Annotated[
    Path,
    typer.Option(
        "--validate", metavar="SOURCE", help="What the model was trained on; held-out photos judge.", show_default=False
    ),
]
NewModel = Annotated[
    Path, typer.Option("--output", "-o", metavar="MODEL", help="Folder of the export.", show_default=False)
]
Force = Annotated[bool, typer.Option("--force", help="Write it although a bound is broken; its card says so.")]


def export(
    model: options.Model,
    *,
    validate: Judging,
    output: NewModel,
    force: Force = False,
    runtime: options.Runtime = "onnxruntime",
    photos: options.Photos = None,
    id_column: options.IdColumn = None,
    label_column: options.LabelColumn = None,
) -> None:
    """Export a model in 8-bit integers, if it answers as the original does.

    Both are scored on the photos that the model held out. The export is refused where accuracy falls by more than a
    point, the calibration error rises by more than .02, or the share of photos not named moves by more than three
    points. It is a model folder like any other, a quarter as large, whose figures and calibration are its own; whether
    it is faster depends on the processor.
    """
    from carspotter.data.source import read_source
    from carspotter.inference.bundle import check_target
    from carspotter.training.quantize import quantize_bundle

    check_target(output)
    source = read_source(validate, photos=photos, id_column=id_column, label_column=label_column)
    notes(source.notes)
    with progress() as show:
        found = quantize_bundle(model, source, output, runtime=runtime, force=force, progress=show)
    columns = ("", "accuracy", "calibration error", "not named", "MB", "p50 ms", "p99 ms", "photos/s, one thread")
    table(columns, [_row("original", found.before), _row("int8", found.after)])
    if found.bundle is None:
        raise TrainingError(f"refused: {'; '.join(found.faults)}; --force writes it all the same")
    if found.faults:
        note(f"written although {'; '.join(found.faults)}")
    say(f"model    {output} (bundle hash {found.bundle.hash[:12]})")


def _row(name: str, one: Measured) -> tuple[object, ...]:
    import numpy as np

    standing, (middle, slow) = one.standing, np.quantile(one.milliseconds, (0.5, 0.99))
    return (
        name,
        str(standing.accuracy),
        standing.calibration_error,
        standing.refused,
        round(one.megabytes, 1),
        round(float(middle), 1),
        round(float(slow), 1),
        round(1e3 / float(one.milliseconds.mean()), 1),
    )
