"""The nouns. Every layer speaks in these; none of them knows a library beyond numpy and pydantic.

Plain values that travel through memory are frozen dataclasses; what is written to disk is a frozen pydantic model that
refuses unknown keys. One file per family of nouns; all are imported from here.
"""

from __future__ import annotations

from carspotter.records.answers import Answer, Calibration, Evidence, Guess, Listed, ListingVerdict, Verdict
from carspotter.records.base import Record, Seconds, hash_json
from carspotter.records.batches import Batch
from carspotter.records.datasets import Dataset, Reading, Split
from carspotter.records.figures import ClassFigures, Evaluation, Figure
from carspotter.records.findings import Decision, Finding, Kind, Verb
from carspotter.records.history import EpochRecord, FreezeSummary
from carspotter.records.models import (
    FORMAT_VERSION,
    MOST_MEMBERS,
    BackboneCard,
    BundleCard,
    ExportNote,
    Join,
    Precision,
    Provenance,
)
from carspotter.records.photos import Geometry, Location, Photo, Pixels, Rejected, Remote
from carspotter.records.runs import Birth, Imported, Machine, Run, RunStatus
from carspotter.records.scores import HeldOut, Logits, Scores

__all__ = [
    "FORMAT_VERSION",
    "MOST_MEMBERS",
    "Answer",
    "BackboneCard",
    "Batch",
    "Birth",
    "BundleCard",
    "Calibration",
    "ClassFigures",
    "Dataset",
    "Decision",
    "EpochRecord",
    "Evaluation",
    "Evidence",
    "ExportNote",
    "Figure",
    "Finding",
    "FreezeSummary",
    "Geometry",
    "Guess",
    "HeldOut",
    "Imported",
    "Join",
    "Kind",
    "Listed",
    "ListingVerdict",
    "Location",
    "Logits",
    "Machine",
    "Photo",
    "Pixels",
    "Precision",
    "Provenance",
    "Reading",
    "Record",
    "Rejected",
    "Remote",
    "Run",
    "RunStatus",
    "Scores",
    "Seconds",
    "Split",
    "Verb",
    "Verdict",
    "hash_json",
]
