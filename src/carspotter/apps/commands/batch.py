"""`batch`: a manifest of photos answered in parts, on this machine or on a cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from carspotter.apps import options
from carspotter.apps.console import note, progress, say
from carspotter.errors import EXIT_SOME_REFUSED
from carspotter.workers import PATIENCE

CHUNK_ROWS = 1000
"""Assumption: half a minute's work of two cores is what a kill may cost."""

ManifestFile = Annotated[
    Path,
    typer.Argument(
        metavar="MANIFEST",
        help="A Parquet table with the text columns id and uri: a path, photos.zip!a/b.jpg, file://, s3://bucket/key.",
        show_default=False,
    ),
]
Folder = Annotated[
    Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the parts go.", show_default=False)
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Work on a Ray cluster (HOST:PORT, or auto on one of its machines), or on a new one here (local); needs "
        "carspotter[ray].",
        show_default=False,
    ),
]
Gone = Annotated[
    bool,
    typer.Option(
        "--gone",
        help="Missing photos are gone for good: not asked for again, and any number of them in a row stops nothing.",
    ),
]
Patience = Annotated[
    int,
    typer.Option(
        "--patience",
        metavar="SECONDS",
        min=1,
        max=86400,
        help="How long one photo's bytes are waited for; then it could not be had (timeout).",
    ),
]
ChunkRows = Annotated[int, typer.Option("--chunk", min=1, max=1_000_000, help="Photos of a part.")]


def batch(
    model: options.Model,
    manifest: ManifestFile,
    output: Folder,
    *,
    ray: Ray = None,
    chunk: ChunkRows = CHUNK_ROWS,
    patience: Patience = PATIENCE,
    gone: Gone = False,
    tta: options.Tta = 1,
    runtime: options.Runtime = "onnxruntime",
) -> None:
    """Answer any number of photos, in parts: one row in, one row out, in the manifest's order.

    The folder gets part-00000.parquet and so on with the columns of `predict`. Interrupted or killed, the same command
    makes the parts that are missing; another model or manifest is refused. Photos that cannot be had or read become
    rows with the verdict bad_photo and their reason; the exit code is then 3. Those that could not be had (missing, out
    of reach, not allowed, on a disk that hangs) are asked for again by the same command; 32 of them in a row stop it
    with exit code 1.
    """
    from carspotter.apps.batch.local import make_here
    from carspotter.apps.batch.ray_engine import OnRay
    from carspotter.apps.batch.run import carry_out, place_order

    order = place_order(model, manifest, output, chunk_rows=chunk, tta=tta, runtime=runtime, gone=gone)
    order = replace(order, patience=patience)
    with progress() as show:
        summary = carry_out(order, make_here if ray is None else OnRay(ray), progress=show, note=note)
    say(f"{output}: {summary}")
    if summary.refused:
        note(summary.refusals)
        raise typer.Exit(EXIT_SOME_REFUSED)
