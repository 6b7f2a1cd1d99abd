"""`export`: a network that computes otherwise and may stand in for the original, or is refused with the figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from carspotter.apps import options
from carspotter.apps.console import note, progress, say, table
from carspotter.errors import TrainingError

if TYPE_CHECKING:
    from carspotter.inference.runtime import RuntimeName
    from carspotter.records import Precision
    from carspotter.training.gated_export import Measured

RUNTIMES: dict[str, RuntimeName] = {"onnx": "onnxruntime", "openvino": "openvino"}
Target = Annotated[
    Literal["onnx", "openvino"],
    typer.Option("--to", help="What will compute it: ONNX Runtime, or OpenVINO (carspotter[openvino])."),
]
Integers = Annotated[bool, typer.Option("--int8", help="In 8-bit integers: a quarter of the size.")]
Half = Annotated[bool, typer.Option("--bf16", help="With OpenVINO in half precision, on processors that have it.")]
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
    to: Target = "onnx",
    int8: Integers = False,
    bf16: Half = False,
    force: Force = False,
    decisions: options.Decisions = None,
    photos: options.Photos = None,
    id_column: options.IdColumn = None,
    label_column: options.LabelColumn = None,
) -> None:
    """Export a model for another runtime or precision, if it answers as the original does.

    Both are scored on the photos that the model held out, the export under the original's temperature and bounds, which
    it keeps. It is refused where accuracy falls by more than a point, the calibration error rises by more than .02, or
    the share of photos not named moves by more than three points. It is a model folder like any other; whether it is
    faster depends on the processor. Commands compute it by --runtime.
    """
    from carspotter.apps.training import read_labelled
    from carspotter.evaluation.paired import percent_points
    from carspotter.inference.bundle import check_target
    from carspotter.training.gated_export import export_gated

    precision = _precision(to, int8=int8, bf16=bf16)
    check_target(output)
    source = read_labelled(validate, photos, decisions, id_column=id_column, label_column=label_column)
    with progress() as show:
        found = export_gated(
            model, source, output, runtime=RUNTIMES[to], precision=precision, force=force, progress=show
        )
    columns = ("", "accuracy", "calibration error", "not named", "MB", "p50 ms", "p99 ms", "photos/s, one thread")
    table(columns, [_row("original, onnx f32", found.before), _row(f"{to} {precision}", found.after)])
    beside = found.difference
    say(f"accuracy {percent_points(beside.difference)} on the same {beside.photos} photos{beside.grouped}")
    if found.bundle is None:
        raise TrainingError(f"refused: {'; '.join(found.faults)}; --force writes it all the same")
    if found.faults:
        note(f"written although {'; '.join(found.faults)}")
    say(f"model    {output} (bundle hash {found.bundle.hash[:12]})")


def _precision(to: str, *, int8: bool, bf16: bool) -> Precision:
    """What is asked for.

    Raises:
        BadParameter: nothing is, or what does not go together.
    """
    if int8 and bf16:
        raise typer.BadParameter("--int8 and --bf16 are two precisions; choose one")
    if bf16 and to != "openvino":
        raise typer.BadParameter("ONNX Runtime has no bf16 on processors; --bf16 goes with --to openvino")
    if not (int8 or bf16) and to == "onnx":
        raise typer.BadParameter("a model is ONNX in single precision as it is; add --int8, or --to openvino")
    return "int8" if int8 else "bf16" if bf16 else "f32"


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
