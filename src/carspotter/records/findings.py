"""What an audit found, and what a person decided about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What may be wrong with a photo, or with two classes."""

    LABEL_ERROR = "label_error"
    OUTLIER = "outlier"
    LEAK = "leak"
    EXACT_DUPLICATE = "exact_duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    DARK = "dark"
    BRIGHT = "bright"
    BLURRY = "blurry"
    TINY = "tiny"
    ODD_ASPECT = "odd_aspect"
    CLASS_OVERLAP = "class_overlap"

    @property
    def is_paired(self) -> bool:
        """Whether such a finding is about a photo and a copy of it."""
        return self in (Kind.LEAK, Kind.EXACT_DUPLICATE, Kind.NEAR_DUPLICATE)


@dataclass(frozen=True, slots=True)
class Finding:
    """One suspicion.

    Attributes:
        id: the photo's id; for `class_overlap` the name of a class.
        kind: what may be wrong.
        score: in [0, 1]; 0 is surely bad.
        is_issue: whether a person should look; other findings show where the line was drawn.
        why: one sentence with the measure.
        suggestion: the likelier class of a label error, the other id of a copy, the other class of an overlap, or "".
        within: the set that the suggested photo of a leak is in; empty: the audited one.
    """

    id: str
    kind: Kind
    score: float
    is_issue: bool
    why: str
    suggestion: str = ""
    within: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.score <= 1:
            raise ValueError(f"the score of {self.kind} of {self.id!r} is {self.score}; expected 0 to 1")


class Verb(StrEnum):
    """What is done with a photo."""

    KEEP = "keep"
    RELABEL = "relabel"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person said about a finding.

    Attributes:
        id: the photo's id.
        kind: of the finding.
        decision: what is done.
        label: the new class of a relabelled photo, else empty.
        who: decided.
        when: ISO 8601.
        why: in words; may be empty.
        line: where it stands in the table, from 1.
        suggestion: of the finding. Where that is about a copy, so is the decision; empty: it is about all of them.
    """

    id: str
    kind: Kind
    decision: Verb
    label: str
    who: str
    when: str
    why: str
    line: int
    suggestion: str = ""
