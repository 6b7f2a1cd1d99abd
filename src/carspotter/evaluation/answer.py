"""From scores to answers: one reply for every photo that was asked about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from carspotter.data.table import Cell
from carspotter.data.wording import some
from carspotter.evaluation.families import Family, common_family, find_families, smallest_family
from carspotter.evaluation.metrics import best_first, check_logits, softmax
from carspotter.records import Answer, Calibration, Guess, Rejected, Scores, Verdict

TOP = 3
"""Candidates in an answer; `predict` writes three pairs of columns."""
COLUMNS = (
    "id",
    "verdict",
    "label",
    "probability",
    "label2",
    "probability2",
    "label3",
    "probability3",
    "group",
    "reason",
)
"""The columns of `predict`."""
UNFITTED = Calibration(temperature=1.0, method="none", photos=1)
"""Names every photo."""
NOBODY: Mapping[str, Verdict] = MappingProxyType({})
UNTOLD: Mapping[str, str] = MappingProxyType({})

Floats = npt.NDArray[np.float64]


def answer(
    scores: Scores,
    classes: Sequence[str],
    calibration: Calibration | None,
    order: Sequence[str],
    strangers: Mapping[str, Verdict] = NOBODY,
    parents: Mapping[str, str] = UNTOLD,
) -> tuple[Answer, ...]:
    """One answer per id in `order`, in that order; a refused photo is a `bad_photo` with its reason code.

    Args:
        scores: what the network said, and the photos it could not be asked about.
        classes: the K class names in index order.
        calibration: says how sure a probability is and from which one on a name is given; None names every photo by
            the plain softmax.
        order: the ids asked for; an id named twice is answered twice.
        strangers: photos that show none of the classes → `unknown` or `not_a_car`; what they are most like is told.
        parents: class or family → the family above it; empty: the names of the classes tell.

    Raises:
        ValueError: an id is neither scored nor rejected, or more than once (a fault of ours: nothing may disappear), or
            the logits are not finite or do not fit the classes.
    """
    check_logits(scores.logits, scores.ids, classes)
    known = {r.id: _refused(r) for r in scores.rejected}
    twice = [i for i, times in Counter((*scores.ids, *(r.id for r in scores.rejected))).items() if times > 1]
    families = _families_of(tuple(classes), tuple(parents.items())) if calibration and calibration.name_at else ()
    claimed = _claimed(scores, classes, calibration or UNFITTED, families)
    known |= {a.id: _noted(_strange(a, strangers), scores.notes.get(a.id, ())) for a in claimed}
    lost = [i for i in order if i not in known]
    if lost or twice:
        raise ValueError(f"photos neither scored nor rejected: {some(lost)}; more than once: {some(twice)}")
    return tuple(known[i] for i in order)


def answer_rows(answers: Sequence[Answer]) -> tuple[tuple[str, ...], list[tuple[Cell, ...]]]:
    """The table of `predict`: its columns, and one row per answer.

    Probabilities are numbers, cells without a value are None; the reason of a bad photo starts with its code
    ("truncated: …").
    """
    return COLUMNS, [_row(a) for a in answers]


@lru_cache(maxsize=64)
def _families_of(classes: tuple[str, ...], parents: tuple[tuple[str, str], ...]) -> tuple[Family, ...]:
    """Of a model's classes: the same for every photo, and quadratic in their number."""
    return find_families(classes, dict(parents) or None)


def _claimed(scores: Scores, classes: Sequence[str], trust: Calibration, families: Sequence[Family]) -> list[Answer]:
    if not scores.ids:
        return []
    probabilities = softmax(np.asarray(scores.logits, dtype=np.float64) / trust.temperature)
    tops = best_first(scores.logits, len(classes))
    return [
        _claim(photo, row, top, classes, families, trust)
        for photo, row, top in zip(scores.ids, probabilities, tops, strict=True)
    ]


def _claim(
    photo: str,
    probabilities: Floats,
    top: npt.NDArray[np.int64],
    classes: Sequence[str],
    families: Sequence[Family],
    trust: Calibration,
) -> Answer:
    """One name where naming pays; else the two or three that may be meant; else the family that is still sure."""
    guesses = _guesses(probabilities, top[:TOP], classes)
    if guesses[0].probability >= trust.name_at:
        return Answer(id=photo, verdict=Verdict.NAMED, top=guesses)
    claimed = max(2, int((probabilities >= trust.set_at).sum()))
    if claimed <= TOP:
        reason = " or ".join(guess.label for guess in guesses[:claimed])
        if trust.error is not None:
            reason += f"; another model in about {100 * trust.error:g} % of photos that are not named"
        group = _name(common_family(top[:claimed].tolist(), families))
        return Answer(photo, Verdict.ONE_OF, guesses, group, reason, claimed=claimed)
    group = _name(smallest_family(probabilities, families, trust.name_at))
    reason = f"a {group}, which one is unsure" if group else f"{claimed} models may be meant"
    return Answer(photo, Verdict.UNSURE, guesses, group, f"{reason}; a person should look")


def _strange(found: Answer, strangers: Mapping[str, Verdict]) -> Answer:
    """The answer as it is, or that the photo shows nothing that was taught."""
    verdict = strangers.get(found.id)
    if verdict is None:
        return found
    reason = (
        "no car is seen from outside"
        if verdict is Verdict.NOT_A_CAR
        else f"unlike every model that was taught; {found.top[0].label} is the nearest"
    )
    return Answer(found.id, verdict, found.top, None, reason)


def _noted(found: Answer, notes: Sequence[str]) -> Answer:
    """The answer with what is to be known of its photo."""
    return replace(found, reason="; ".join(filter(None, (found.reason, *notes)))) if notes else found


def _name(family: Family | None) -> str | None:
    return None if family is None else family.name


def _guesses(probabilities: Floats, top: npt.NDArray[np.int64], classes: Sequence[str]) -> tuple[Guess, ...]:
    return tuple(Guess(classes[int(i)], float(probabilities[int(i)])) for i in top)


def _refused(rejected: Rejected) -> Answer:
    return Answer(id=rejected.id, verdict=Verdict.BAD_PHOTO, reason=rejected.sentence, code=rejected.reason)


def _row(a: Answer) -> tuple[Cell, ...]:
    pairs: list[Cell] = [cell for guess in a.top[:TOP] for cell in (guess.label, guess.probability)]
    empty: list[Cell] = [None] * (2 * TOP - len(pairs))
    reason = a.reason if a.code is None else f"{a.code.value}: {a.reason}"
    return (a.id, a.verdict.value, *pairs, *empty, a.group, reason)
