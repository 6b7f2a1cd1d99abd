"""`serve`: models behind an HTTP API, on this machine alone unless told otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carspotter.apps import options
from carspotter.apps.console import note, notes, say
from carspotter.errors import SourceError

if TYPE_CHECKING:
    from carspotter.apps.web.review import Review
    from carspotter.inference.runtime import RuntimeName
    from carspotter.records import Dataset

Folders = Annotated[
    list[Path],
    typer.Argument(metavar="MODEL...", help="Model folders; the first one is the default.", show_default=False),
]
Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is every network.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")]
Allowed = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host", help="Name under which it may be asked, besides localhost; repeatable.", show_default=False
    ),
]
Workers = Annotated[int, typer.Option(min=0, max=256, help="Processes that answer photos; 0: one per core.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(help="File with a bearer token that every request must bear.", show_default=False),
]
ApiOnly = Annotated[
    bool, typer.Option("--api-only", help="No page; with a token there is none, since browsers bear none.")
]
Findings = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="findings.csv of `audit`, to review on the page.", show_default=False),
]
Trained = Annotated[
    Path | None,
    typer.Option(
        "--photos",
        metavar="SOURCE",
        help="What trained the models: the page shows the training photos that are like one. With --findings, what was "
        "audited.",
        show_default=False,
    ),
]
DecisionsFile = Annotated[
    Path | None,
    typer.Option("--decisions", metavar="FILE", help="Where decisions are kept, for `train`.", show_default=False),
]
Who = Annotated[str, typer.Option(help="Who decides.  [default: the user of this machine]", show_default=False)]
RunStoreUri = Annotated[
    str | None,
    typer.Option(
        "--runs",
        metavar="URI",
        help="Show the runs of this store, as in sqlite:///runs/runs.db; needs carspotter[train].",
        show_default=False,
    ),
]
LOCAL = ("127.0.0.1", "localhost", "::1")


def serve(
    models: Folders,
    *,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    allow_host: Allowed = None,
    workers: Workers = 0,
    token_file: TokenFile = None,
    api_only: ApiOnly = False,
    findings: Findings = None,
    photos: Trained = None,
    decisions: DecisionsFile = None,
    who: Who = "",
    runs: RunStoreUri = None,
    runtime: options.Runtime = "onnxruntime",
) -> None:
    """Serve models over HTTP: a page for people, and /v1/identify, /v1/listings/check, /v1/models, described at /docs.

    Photos are answered by worker processes and kept nowhere. A model folder that is replaced is served from then on.
    """
    import uvicorn

    from carspotter.apps.serving.api import Api
    from carspotter.apps.serving.limits import Limits
    from carspotter.apps.serving.registry import ModelRegistry
    from carspotter.apps.serving.server import config, listen

    # What no worker could open is said at once, and ends with 2.
    remembered = {folder.resolve().name: _remembered(folder, runtime) for folder in models}
    token = "" if token_file is None else _token(token_file)
    if host not in LOCAL and not token:
        note(f"{host} can be reached by others and no token is asked for; name a --token-file")
    api = Api(
        ModelRegistry(models), Limits(workers=workers).resolved(), hosts=allow_host or (), token=token, runtime=runtime
    )
    if findings is not None and (host not in LOCAL or allow_host):
        raise typer.BadParameter(
            "--findings lets every visitor decide about training photos; serve it on localhost alone"
        )
    if api_only or token:
        if photos or findings or runs:
            raise typer.BadParameter(
                "--photos, --findings and --runs are for the page; a token or --api-only leaves it out"
            )
    else:
        from carspotter.apps.web.pages import Extras, attach

        dataset = None if photos is None else _photos(photos, remembered, shared=host not in LOCAL or bool(allow_host))
        attach(api, Extras(_review(findings, dataset, decisions, who), runs, dataset))
    socket = listen(host, port)
    address = f"http://{host}:{socket.getsockname()[1]}"
    say(f"{', '.join(api.registry.bundles)} at {address}, described at /docs; Ctrl-C ends it")
    uvicorn.Server(config(api, host, port)).run([socket])


def _remembered(folder: Path, runtime: RuntimeName) -> tuple[str, ...]:
    """The ids of the photos that trained a model, as far as it remembers them.

    Raises:
        BundleError: it is no sound model.
    """
    from carspotter.inference.predictor import load

    reference = load(folder, threads=1, runtime=runtime).reference
    return () if reference is None else reference.ids


def _photos(source: Path, remembered: Mapping[str, Sequence[str]], *, shared: bool) -> Dataset:
    """What trained the models; what cannot be shown of it is said now.

    Args:
        source: of photos.
        remembered: by model, the ids of the photos that trained it.
        shared: whether others than this machine's users see the page.

    Raises:
        SourceError: the source cannot be used.
    """
    from carspotter.data.source import read_source

    dataset = read_source(source)
    notes(dataset.notes)
    known = {photo.id for photo in dataset.photos}
    for name, ids in remembered.items():
        if not ids:
            note(f"{name} remembers no training photos, so none will be shown; train it again to have them")
        elif lost := sum(one not in known for one in ids):
            note(f"{lost:,} of the {len(ids):,} training photos that {name} remembers are not in {source}")
    if shared:
        note("every visitor will be shown training photos, as --photos asks")
    return dataset


def _review(findings: Path | None, dataset: Dataset | None, decisions: Path | None, who: str) -> Review | None:
    """What the page reviews, if anything.

    Raises:
        typer.BadParameter: findings without their photos, or without a place for decisions.
        SourceError: a table cannot be used.
    """
    if findings is None:
        if decisions:
            raise typer.BadParameter("--decisions belongs to --findings; name both or none")
        return None
    if dataset is None or decisions is None:
        raise typer.BadParameter("--findings needs --photos (what was audited) and --decisions (where they are kept)")
    from getpass import getuser

    from carspotter.apps.web.review import Review
    from carspotter.data.disk import check_writable

    check_writable(decisions)
    return Review(findings, dataset, decisions, who or getuser())


def _token(path: Path) -> str:
    """The token in a file.

    Raises:
        SourceError: it cannot be read, or is none.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as fault:
        raise SourceError(f"cannot read the token in {path}: {type(fault).__name__}; check the path") from None
    if not token.isascii() or not token.isprintable() or " " in token or len(token) < 16:
        raise SourceError(f"the token in {path} must be one word of 16 or more printable ASCII characters")
    return token
