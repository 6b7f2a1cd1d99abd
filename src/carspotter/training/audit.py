"""From a set to findings: photos are looked at once, embedded by frozen nets, and judged.

Nothing is trained but linear heads on embeddings. What nets see is `embeddings.py`; what follows from it is in
`copy_findings.py`, `photo_findings.py` and `label_findings.py`, and the measures are `near.py` and `label_faults.py` of
`evaluation/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from carspotter.data.duplicates import group_copies
from carspotter.data.quality import measure_all
from carspotter.data.scan import Scan, scan
from carspotter.data.wording import count, some
from carspotter.errors import SourceError
from carspotter.evaluation.near import Near, find_near
from carspotter.inference.finder import Seer, look_for_vehicles
from carspotter.progress import Progress, silent
from carspotter.records import Dataset, Finding, Kind
from carspotter.training.copy_findings import copy_findings, seen_copies
from carspotter.training.embeddings import Embed
from carspotter.training.label_findings import label_findings
from carspotter.training.photo_findings import outlier_findings, quality_findings

BORDER = 10
"""Findings of a kind below the line that are listed too, so that a reader sees where it was drawn."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found.

    Attributes:
        dataset: as scanned; what could not be read is in `rejected`.
        findings: by kind, the surest first.
        notes: how far to trust them, a sentence each.
        unread: how many photos of all sets could not be read; the notes name some.
    """

    dataset: Dataset
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    unread: int


def audit(
    dataset: Dataset,
    embed: Embed,
    *,
    seer: Seer | None = None,
    against: Mapping[str, Dataset] | None = None,
    progress: Progress = silent,
) -> Audit:
    """Look for everything that may be wrong with a set.

    Args:
        dataset: labelled or not.
        embed: `backbone_embeddings` or `model_embeddings`.
        seer: tells whether a photo shows a vehicle; None: that is judged by strangeness alone.
        against: name → photos of which this set should hold no copies (validation, test).
        progress: told what goes on.

    Raises:
        SourceError: no photo can be read.
        MissingExtra: `carspotter[audit]` is not installed.
        BundleError: the network that sees vehicles fails.
    """
    looked = scan(dataset, progress=progress)  # 1. what can be read
    if not looked.facts:
        raise SourceError(f"{dataset.origin}: none of its {count(len(dataset.photos), 'photo')} can be read")
    others = {name: scan(other, progress=progress) for name, other in (against or {}).items()}
    sets = ["" for _ in looked.facts] + [name for name, other in others.items() for _ in other.facts]
    scans, mine = (looked, *others.values()), len(looked.facts)
    photos = [photo for one in scans for photo in one.dataset.photos]
    made = embed(photos, progress)  # 2. what nets see
    copies = seen_copies([fact for one in scans for fact in one.facts], made[0])  # 3. copies, here and across
    own = [one.first(mine) for one in made]
    nears = [find_near(one.views[0]) for one in own]
    found, spoiled = _by_themselves(looked, nears, seer, progress)  # 4. single photos
    groups = group_copies(copies, len(photos))[:mine]
    about, notes = label_findings(looked.dataset, own, nears, groups, spoiled)  # 5. labels
    found += [*about, *copy_findings(photos, copies, sets)]
    told = [sentence for one in own for sentence in one.told(looked)] if about else []
    lost = [_unread(one.dataset) for one in scans if one.dataset.rejected]
    unread = sum(len(one.dataset.rejected) for one in scans)
    return Audit(looked.dataset, _listed(found), (*notes, *told, *lost), unread)


def _by_themselves(
    looked: Scan, nears: Sequence[Near], seer: Seer | None, progress: Progress
) -> tuple[list[Finding], dict[str, str]]:
    """How photos were taken and which are strange; id → what spoils a photo for any further judgement."""
    photos = looked.dataset.photos
    taken = list(quality_findings(photos, measure_all(photos, progress)))
    spoiled = {f.id: str(f.kind) for f in taken if f.is_issue and f.kind is not Kind.ODD_ASPECT}
    strange = outlier_findings(photos, nears, look_for_vehicles(photos, seer, progress=progress), spoiled)
    return [*taken, *strange], spoiled | {f.id: "an outlier" for f in strange if f.is_issue}


def _unread(dataset: Dataset) -> str:
    named = some([f"{one.id} ({one.reason})" for one in dataset.rejected])
    return f"{dataset.origin}: {count(len(dataset.rejected), 'photo')} could not be read, so nothing is told of {named}"


def _listed(found: Sequence[Finding]) -> tuple[Finding, ...]:
    """All issues, and of each kind the nearest others; by kind, the surest first."""
    listed = list[Finding]()
    for kind in Kind:
        of_kind = sorted((f for f in found if f.kind is kind), key=lambda f: (not f.is_issue, f.score, f.id))
        issues = sum(f.is_issue for f in of_kind)
        listed += of_kind[: issues + BORDER]
    return tuple(listed)
