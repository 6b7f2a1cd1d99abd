"""Findings of an audit and what a person decides about them: every decision is on disk before the page says so."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from carspotter.data.photo import read_bytes
from carspotter.data.table import read_table
from carspotter.data.wording import brief, some
from carspotter.errors import PhotoRefused, Reason, SourceError
from carspotter.records import Dataset, Decision, Kind, Photo, Rejected, Verb
from carspotter.tracking.decisions import FindingKey, decide, decided_so_far, finding_key, finding_of, undo

NEEDED = ("id", "kind", "is_issue", "why", "suggestion")


@dataclass(frozen=True, slots=True)
class Suspect:
    """One finding about a photo that a person should look at.

    Attributes:
        id: of the photo.
        kind: what may be wrong.
        why: one line.
        suggestion: the likelier class, or the other photo of a copy; may be empty.
        label: its class now.
    """

    id: str
    kind: Kind
    why: str
    suggestion: str
    label: str

    @property
    def better(self) -> str:
        """The class that it may be relabelled to by one key; empty where there is none."""
        return self.suggestion if self.kind is Kind.LABEL_ERROR else ""


class Review:
    """Findings with their photos and decisions.

    Args:
        findings: `findings.csv` of `carspotter audit`.
        dataset: that was audited.
        decisions: the table that is written; made with the first decision.
        who: decides.

    Raises:
        SourceError: a table cannot be used.
    """

    def __init__(self, findings: Path, dataset: Dataset, decisions: Path, who: str) -> None:
        self.photos: dict[str, Photo] = {photo.id: photo for photo in dataset.photos}
        self.classes = dataset.classes
        self.suspects = _read(findings, self.photos)
        self._decisions, self._who = decisions, who
        self._turn = asyncio.Lock()
        self.decided = _by_finding(decided_so_far(decisions))

    async def decide(self, suspect: Suspect, verb: Verb, label: str = "") -> None:
        """Keep a decision, in place of an earlier one about the same finding.

        Raises:
            SourceError: it cannot be written, or contradicts what was decided about the photo for another reason.
        """
        when = datetime.now(UTC).isoformat(timespec="seconds")
        why = suspect.why if verb is not Verb.KEEP else ""
        made = Decision(suspect.id, suspect.kind, verb, label, self._who, when, why, 0, suspect.suggestion)
        async with self._turn:
            self.decided = _by_finding(await asyncio.to_thread(decide, self._decisions, made))

    async def undo(self, suspect: Suspect) -> None:
        """Take a decision away.

        Raises:
            SourceError: as `decide`.
        """
        async with self._turn:
            if (made := self.decision(suspect)) is None:
                return
            left = await asyncio.to_thread(undo, self._decisions, suspect.id, suspect.kind, made.suggestion)
            self.decided = _by_finding(left)

    def decision(self, suspect: Suspect) -> Decision | None:
        """What was decided about a finding."""
        found = (self.decided.get(finding_key(suspect.kind, suspect.id, which)) for which in (suspect.suggestion, ""))
        return next((one for one in found if one is not None), None)

    async def bytes_of(self, photo: str) -> bytes | Rejected:
        """A photo as it lies in the source; the reason where it does not."""
        if photo not in self.photos:
            return Rejected(photo, Reason.MISSING, "is not in this source")
        try:
            return await asyncio.to_thread(read_bytes, self.photos[photo].where)
        except PhotoRefused as refused:
            return Rejected(photo, refused.reason, refused.sentence)


def _by_finding(decisions: Sequence[Decision]) -> dict[FindingKey, Decision]:
    return {finding_of(one): one for one in decisions}


def _read(path: Path, photos: dict[str, Photo]) -> tuple[Suspect, ...]:
    table = read_table(path)
    if missing := [column for column in NEEDED if column not in table.columns]:
        raise SourceError(f"{brief(path)} has no column {some(missing)}; name the findings.csv of `carspotter audit`")
    found, faults = [], []
    for line, row in zip(table.lines, table.rows, strict=True):
        cells = dict(zip(table.columns, row, strict=True))
        photo = cells["id"].removeprefix("'") if cells["id"] not in photos else cells["id"]
        if cells["kind"] not in set(Kind):
            faults.append(f"{brief(path)}: line {line}: kind {brief(cells['kind'])!r}; expected {', '.join(Kind)}")
        elif cells["is_issue"] == "1" and cells["kind"] != Kind.CLASS_OVERLAP and photo in photos:
            label = photos[photo].label or ""
            found.append(Suspect(photo, Kind(cells["kind"]), cells["why"], cells["suggestion"], label))
    if faults:
        raise SourceError(faults)
    if not found:
        raise SourceError(f"{brief(path)} has no finding about a photo of this source; is it of another one?")
    return tuple(found)
