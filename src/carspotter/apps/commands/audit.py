"""`audit`: what may be wrong with a set, as a table and a page to look at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carspotter.apps import options
from carspotter.apps.console import note, notes, progress, say, table
from carspotter.errors import EXIT_SOME_REFUSED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carspotter.inference.finder import Seer
    from carspotter.inference.runtime import RuntimeName
    from carspotter.records import Dataset, Decision
    from carspotter.training.audit import Audit
    from carspotter.training.embeddings import Embed

TABLE, PAGE = "findings.csv", "audit.html"
CONTEST = "the contest's test photos"
"""Their name among other sets, which are called as the user called them."""
COLUMNS = ("id", "kind", "score", "is_issue", "why", "suggestion")
OutFolder = Annotated[Path, typer.Option("--output", "-o", help="Folder for findings.csv and audit.html.")]
MaybeModel = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="Look with this model instead of frozen backbones; needs no torch. One that trained on these photos "
        "believes their labels.",
        show_default=False,
    ),
]
Backbone = Annotated[
    list[str] | None,
    typer.Option(
        help="Look with this frozen backbone; repeatable.  [default: car-lite0, and Lite0]", show_default=False
    ),
]
Against = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="SOURCE",
        help="Photos that SOURCE should hold no copies of (validation, test); repeatable. A contest's test photos are "
        "looked at by themselves.",
        show_default=False,
    ),
]

Decided = Annotated[
    Path | None,
    typer.Option(
        "--decisions",
        metavar="FILE",
        help="What was decided about earlier findings: photos are audited as relabelled, without the dropped ones, and "
        "a finding that was kept stays away.",
        show_default=False,
    ),
]


def audit(
    source: options.Source,
    *,
    output: OutFolder = Path("audit"),
    model: MaybeModel = None,
    backbone: Backbone = None,
    against: Against = None,
    decisions: Decided = None,
    photos: options.Photos = None,
    id_column: options.IdColumn = None,
    label_column: options.LabelColumn = None,
    group_column: options.GroupColumn = None,
    runtime: options.Runtime = "onnxruntime",
) -> None:
    """Find wrong labels, strange photos, copies, leaks, dark and blurry photos, and classes that overlap.

    Findings are suspicions, the surest first of each kind: look at them, and decide in a table with the columns id,
    kind, decision (keep, relabel, drop), label, who, when, why, and suggestion to say which copy is meant, for `train
    --decisions`. Given here, they are carried out first, and what was decided is not asked again. Unreadable photos of
    any set make the exit code 3.
    """
    from carspotter.data.disk import check_writable
    from carspotter.data.source import read_source, tables_of
    from carspotter.data.table import write_table
    from carspotter.data.wording import count
    from carspotter.tracking.decisions import apply_decisions, read_decisions
    from carspotter.training.audit import audit as judge

    if model is not None and backbone:
        raise typer.BadParameter("--model looks by itself; leave --backbone out")
    for name in (TABLE, PAGE):
        check_writable(output / name, reads=(*tables_of(source, *(against or ())), decisions))
    dataset = read_source(
        source, photos=photos, id_column=id_column, label_column=label_column, group_column=group_column
    )
    made = () if decisions is None else read_decisions(decisions)
    dataset = apply_decisions(dataset, made)
    notes(dataset.notes)
    others = _others(source, against or [])
    embed, seer = _eyes(model, backbone, runtime)
    with progress() as show:
        found = _still_open(judge(dataset, embed, seer=seer, against=others, progress=show), made)
    rows = [(f.id, str(f.kind), f.score, int(f.is_issue), f.why, f.suggestion) for f in found.findings]
    write_table(output / TABLE, COLUMNS, rows)
    _write_page(output / PAGE, str(source), found, others)
    _summarise(found)
    say(f"findings in {output / TABLE}, to look at in {output / PAGE}")
    if found.unread:
        note(f"{count(found.unread, 'photo')} could not be read, see above; `carspotter check` names the cures")
        raise typer.Exit(EXIT_SOME_REFUSED)


def _still_open(found: Audit, made: Sequence[Decision]) -> Audit:
    """Without the findings that were decided, of which a note says how many."""
    from carspotter.data.wording import count
    from carspotter.tracking.decisions import undecided

    left = undecided(found.findings, made)
    silenced = sum(f.is_issue for f in found.findings) - sum(f.is_issue for f in left)
    said = (f"{count(silenced, 'finding')} left out, as decided before",) if silenced else ()
    return replace(found, findings=left, notes=(*found.notes, *said))


def _others(source: Path, against: list[Path]) -> dict[str, Dataset]:
    """Sets that must stay apart, by name; the test photos of a contest are among them."""
    from carspotter.data.source import find_contest, read_contest, read_source

    contest = find_contest(source)
    test = {} if contest is None else {CONTEST: read_contest(contest).test}
    return test | {str(place): read_source(place) for place in against}


def _eyes(model: Path | None, backbones: list[str] | None, runtime: RuntimeName) -> tuple[Embed, Seer | None]:
    """What looks at the photos, and what sees whether they show a vehicle; a note where nothing does."""
    from carspotter.data.cache import PhotoCache, default_cache_folder
    from carspotter.training.embeddings import backbone_embeddings, model_embeddings

    cache = PhotoCache(default_cache_folder())
    if model is None:
        return backbone_embeddings(backbones or (), cache), _packaged_seer()
    from carspotter.inference.predictor import load

    predictor = load(model, runtime=runtime)
    if predictor.vehicles is None:
        note(f"{model} has no net that sees vehicles: photos without a car are found by their strangeness alone")
        return model_embeddings(predictor, cache), None
    return model_embeddings(predictor, cache), predictor.vehicles.evidence_in


def _packaged_seer() -> Seer | None:
    from carspotter.errors import BackboneError
    from carspotter.training.finder import make_finder

    try:
        return make_finder().evidence_in
    except BackboneError as fault:
        note(f"photos without a car are found by their strangeness alone: {fault}")
        return None


def _write_page(path: Path, title: str, found: Audit, others: dict[str, Dataset]) -> None:
    from carspotter.data.disk import whole_file
    from carspotter.evaluation.audit_page import audit_page

    photos = {(name, photo.id): photo for name, other in others.items() for photo in other.photos}
    photos |= {("", photo.id): photo for photo in found.dataset.photos}
    with whole_file(path) as part:
        part.write_text(audit_page(title, found.notes, found.findings, photos), encoding="utf-8")


def _summarise(found: Audit) -> None:
    from collections import Counter

    from carspotter.records import Kind

    counts = Counter(finding.kind for finding in found.findings if finding.is_issue)
    table(("kind", "findings"), [(str(kind), counts[kind]) for kind in Kind if counts[kind]])
    notes(found.notes)
