"""The audit with a frozen backbone, on a drawn lot whose faults are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from carspotter.data.source import read_source
from carspotter.data.synthetic import Faults, draw_lot
from carspotter.errors import SourceError
from carspotter.records import Dataset, Kind, Photo
from carspotter.training.audit import Audit, audit
from carspotter.training.embeddings import backbone_embeddings


def ids(found: Audit, kind: Kind) -> set[str]:
    return {finding.id for finding in found.findings if finding.kind is kind and finding.is_issue}


@pytest.mark.slow
def test_planted_faults_of_a_drawn_lot(tmp_path: Path) -> None:
    faults = Faults(0, 0, 0, 2, 2, 2, 2, 2, 2)
    lot = draw_lot(tmp_path / "lot", train=80, test=10, height=120, width=160, faults=faults)
    found = audit(read_source(lot.folder), backbone_embeddings(("tf_efficientnet_lite0",)))
    planted = {kind: {t.id for t in lot.truth if t.fault == kind} for kind in ("dark", "blurry", "exact_copy")}
    assert ids(found, Kind.DARK) >= planted["dark"]
    assert ids(found, Kind.BLURRY) == planted["blurry"]
    pairs = {frozenset((f.id, f.suggestion)) for f in found.findings if f.kind is Kind.EXACT_DUPLICATE}
    assert pairs == {frozenset((t.id, t.of)) for t in lot.truth if t.fault == "exact_copy"}
    near = {frozenset((f.id, f.suggestion)) for f in found.findings if f.kind is Kind.NEAR_DUPLICATE}
    assert near == {frozenset((t.id, t.of)) for t in lot.truth if t.fault.endswith("_copy")} - pairs
    assert any(note.startswith("labels were judged by tf_efficientnet_lite0") for note in found.notes)


def test_nothing_that_can_be_read_is_refused() -> None:
    with pytest.raises(SourceError, match="none of its 1 photo can be read"):
        audit(Dataset((Photo("a", b""),), origin="cars"), backbone_embeddings())
