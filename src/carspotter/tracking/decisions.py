"""What a person decided about findings: a table that anybody can edit, applied to a set without touching it.

One row per finding: `id, kind, decision, label, who, when, why, suggestion`. The decision is keep, relabel (with the
new class in `label`) or drop; `suggestion`, which may be left out, is that of the finding: which copy was meant. A
decision is undone by removing its line: the set it is applied to is always the source's own.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from carspotter.data.files import open_regular
from carspotter.data.table import Table, neutral, read_table, write_table
from carspotter.data.wording import brief, count, some
from carspotter.errors import SourceError
from carspotter.records import Dataset, Decision, Finding, Kind, Photo, Verb

COLUMNS = ("id", "kind", "decision", "label", "who", "when", "why", "suggestion")
NEEDED = ("id", "kind", "decision", "who", "when")
FindingKey = tuple[Kind, str, str]
"""Kind, photo, and where it is a finding about a copy this one; empty: any copy."""


def read_decisions(path: str | Path) -> tuple[Decision, ...]:
    """Read a table of decisions (CSV, TSV, Parquet or XLSX); none in one of ours of which everything was undone.

    Raises:
        SourceError: every fault with its line number.
    """
    if _is_bare(path):
        return ()
    table = read_table(path)
    name = brief(path)
    if missing := [column for column in NEEDED if column not in table.columns]:
        raise SourceError(f"{name} has no column {some(missing, 8)}; expected {', '.join(COLUMNS)}")
    faults, found = list[str](), list[Decision]()
    for line, row in zip(table.lines, _rows(table), strict=True):
        wrong = _row_faults(row)
        faults += [f"{name}: line {line}: {fault}" for fault in wrong]
        if not wrong:
            found.append(_decision(row, line))
    faults += [f"{name}: {fault}" for fault in _contradictions(found)]
    if faults:
        raise SourceError(faults)
    return tuple(found)


def apply_decisions(dataset: Dataset, decisions: Sequence[Decision]) -> Dataset:
    """A new set in which decisions are carried out; its fingerprint is its own, the given set stays as it is.

    Photos that the reader or a scan left out may be named. A class that loses its last photo is left out.

    Raises:
        SourceError: every decision about a photo or a class that the set does not have, or none would be left.
    """
    decisions = _as_written(dataset, decisions)
    faults = _misfits(dataset, decisions)
    verbs = {decision.id: decision for decision in decisions if decision.decision is not Verb.KEEP}
    photos = tuple(_decided(photo, verbs.get(photo.id)) for photo in dataset.photos if not _drops(verbs, photo.id))
    if not faults and not photos:
        faults = [f"the decisions drop all {len(dataset.photos)} photos of {dataset.origin}; keep some"]
    if faults:
        raise SourceError(faults)
    changed = {photo.id for photo in dataset.photos} & verbs.keys()
    if not changed:
        return dataset
    return _without_empty_classes(
        replace(dataset, photos=photos, notes=(*dataset.notes, *_notes(verbs, changed))), dataset
    )


def undecided(findings: Sequence[Finding], decisions: Sequence[Decision]) -> tuple[Finding, ...]:
    """The findings that nobody decided about: a person who kept, relabelled or dropped a photo need not be asked again.

    A decision is about one kind of finding of one photo, and where it names a copy, about this one; another kind of the
    same photo stays, and so does a copy that came since.
    """
    decided = {finding_key(one.kind, one.id, one.suggestion) for one in decisions}
    keys = [{finding_key(f.kind, f.id, other) for other in ("", f.suggestion)} for f in findings]
    return tuple(f for f, mine in zip(findings, keys, strict=True) if decided.isdisjoint(mine))


def write_decisions(path: str | Path, decisions: Sequence[Decision]) -> None:
    """Write a table of decisions, whole or not at all; `read_decisions` reads the same.

    Raises:
        SourceError: the place cannot be written.
    """
    rows = [(d.id, d.kind.value, d.decision.value, d.label, d.who, d.when, d.why, d.suggestion) for d in decisions]
    write_table(path, COLUMNS, rows)


def decide(path: str | Path, decision: Decision) -> tuple[Decision, ...]:
    """Add one decision to a table, in place of an earlier one about the same finding; a new table where there is none.

    Raises:
        SourceError: the table is damaged, cannot be written, or already says otherwise about the photo.
    """
    kept = [d for d in decided_so_far(path) if finding_of(d) != finding_of(decision)]
    made = (*kept, replace(decision, line=len(kept) + 2))
    if faults := _contradictions(made):
        raise SourceError(faults)
    write_decisions(path, made)
    return made


def undo(path: str | Path, photo: str, kind: Kind, suggestion: str = "") -> tuple[Decision, ...]:
    """Take the decision about one finding away.

    Raises:
        SourceError: as `decide`.
    """
    kept = tuple(d for d in decided_so_far(path) if finding_of(d) != finding_key(kind, photo, suggestion))
    write_decisions(path, kept)
    return kept


def finding_of(decision: Decision) -> FindingKey:
    """What a decision is about."""
    return finding_key(decision.kind, decision.id, decision.suggestion)


def finding_key(kind: Kind, photo: str, suggestion: str = "") -> FindingKey:
    """What tells findings apart, with ids as a CSV writes them: an apostrophe before those that a spreadsheet runs."""
    return kind, str(neutral(photo)), str(neutral(suggestion)) if kind.is_paired else ""


def decided_so_far(path: str | Path) -> tuple[Decision, ...]:
    """What was decided; nothing where there is no table.

    Raises:
        SourceError: as `read_decisions`.
    """
    return read_decisions(path) if Path(path).exists() else ()


# ---- reading --------------------------------------------------------------------------------------------------------


def _is_bare(path: str | Path) -> bool:
    """Whether a file holds our own header and nothing else, as the last undone decision leaves it."""
    header = ",".join(COLUMNS).encode()
    older = header.removesuffix(b",suggestion")
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            return file.read(len(header) + 3).strip() in (header, older)
    except OSError:
        return False  # whoever reads tables says what is wrong


def _rows(table: Table) -> list[dict[str, str]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def _row_faults(row: dict[str, str]) -> list[str]:
    faults = [f"no {column}; fill it" for column in NEEDED if not row[column].strip()]
    if row["kind"].strip() and row["kind"].strip() not in set(Kind):
        faults.append(f"kind {brief(row['kind'])!r}; expected {', '.join(Kind)}")
    if row["kind"].strip() == Kind.CLASS_OVERLAP:
        faults.append("class_overlap names classes, not a photo; decide about photos")
    verb, label = row["decision"].strip().casefold(), row.get("label", "")
    if verb and verb not in set(Verb):
        faults.append(f"decision {brief(verb)!r}; expected {', '.join(Verb)}")
    if verb == Verb.RELABEL and not label.strip():
        faults.append("relabel without a label; name the right class")
    if verb in (Verb.KEEP, Verb.DROP) and label.strip():
        faults.append(f"{verb} with the label {brief(label)!r}; leave it empty, or decide relabel")
    if row["when"].strip() and not _is_moment(row["when"].strip()):
        faults.append(f"when is {brief(row['when'])!r}; expected a date as in 2026-11-22")
    return faults


def _is_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _decision(row: dict[str, str], line: int) -> Decision:
    return Decision(
        id=row["id"],
        kind=Kind(row["kind"].strip()),
        decision=Verb(row["decision"].strip().casefold()),
        label=row.get("label", ""),
        who=row["who"].strip(),
        when=row["when"].strip(),
        why=row.get("why", ""),
        line=line,
        suggestion=row.get("suggestion", ""),
    )


def _contradictions(decisions: Sequence[Decision]) -> list[str]:
    """Two decisions that cannot both be carried out, or the same finding decided twice."""
    by_photo: dict[str, list[Decision]] = defaultdict(list)
    for decision in decisions:
        by_photo[decision.id].append(decision)
    faults = []
    for photo, made in by_photo.items():
        lines = some([decision.line for decision in made], 5)
        deeds = {(d.decision, d.label) for d in made if d.decision is not Verb.KEEP}
        if len(deeds) > 1:
            faults.append(f"lines {lines} decide differently about {brief(photo)!r}; keep one of them")
        elif max(Counter(map(finding_of, made)).values()) > 1:
            faults.append(f"lines {lines} decide about one finding of {brief(photo)!r} twice; keep one of them")
    return faults


# ---- applying -------------------------------------------------------------------------------------------------------


def _as_written(dataset: Dataset, decisions: Sequence[Decision]) -> list[Decision]:
    """Ids and labels copied from a CSV of ours have an apostrophe where a spreadsheet would run them."""
    texts = (*(p.id for p in dataset.photos), *(r.id for r in dataset.rejected), *dataset.classes)
    own = {str(neutral(text)): text for text in texts} | {text: text for text in texts}
    return [replace(d, id=own.get(d.id, d.id), label=own.get(d.label, d.label)) for d in decisions]


def _misfits(dataset: Dataset, decisions: Sequence[Decision]) -> list[str]:
    known = {photo.id for photo in dataset.photos} | {refused.id for refused in dataset.rejected}
    faults = []
    for decision in decisions:
        if decision.id not in known:
            faults.append(
                f"line {decision.line}: {dataset.origin} has no photo {brief(decision.id)!r}; remove the line"
            )
        elif decision.decision is Verb.RELABEL and decision.label not in dataset.classes:
            classes = some(dataset.classes, 20) or "none: it has no labels"
            faults.append(f"line {decision.line}: no class {brief(decision.label)!r}; the classes are {classes}")
    return faults


def _drops(verbs: dict[str, Decision], photo: str) -> bool:
    return photo in verbs and verbs[photo].decision is Verb.DROP


def _decided(photo: Photo, decision: Decision | None) -> Photo:
    return photo if decision is None else replace(photo, label=decision.label)


def _notes(verbs: dict[str, Decision], changed: set[str]) -> tuple[str, ...]:
    notes = []
    for verb, done in ((Verb.RELABEL, "relabelled"), (Verb.DROP, "dropped")):
        ids = [i for i, decision in verbs.items() if decision.decision is verb and i in changed]
        if ids:
            notes.append(f"{count(len(ids), 'photo')} {done} by decisions: {some(ids)}")
    return tuple(notes)


def _without_empty_classes(decided: Dataset, before: Dataset) -> Dataset:
    """Classes that had photos and have none any more could not be learned."""
    had, has = before.counts, decided.counts
    kept = [at for at, name in enumerate(decided.classes) if has[name] or not had[name]]
    if len(kept) == len(decided.classes):
        return decided
    gone = [name for at, name in enumerate(decided.classes) if at not in kept]
    codes = tuple(decided.codes[at] for at in kept) if decided.codes else ()
    note = f"decisions leave no photo of {some(gone, 10)}; left out as classes"
    return replace(
        decided, classes=tuple(decided.classes[at] for at in kept), codes=codes, notes=(*decided.notes, note)
    )
