"""Class names of public contests whose own files give numbers only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownContest:
    """A contest that is recognised by its ids, never by a file's name.

    Attributes:
        title: Kaggle's name of it.
        ids: how many training ids there are.
        proof: sha256 over the sorted ids, joined by line feeds.
        names: category → class name.
    """

    title: str
    ids: int
    proof: str
    names: Mapping[str, str]


SF_DL_CAR = KnownContest(
    title="sf-dl-car-classification",
    ids=15_561,
    proof="13ca43f886460738026ad153abb0290ab6ef406c8feb35541574b2e54db7ba0c",
    names={
        "0": "Lada Priora",
        "1": "Ford Focus",
        "2": "Lada Samara 2114",
        "3": "Lada 2110",
        "4": "Lada 2107",
        "5": "Lada Niva",
        "6": "Lada Kalina",
        "7": "Lada 2109",
        "8": "VW Passat",
        "9": "Lada 21099",
    },
)
CONTESTS = (SF_DL_CAR,)


def recognise(ids: Iterable[str]) -> KnownContest | None:
    """The contest with exactly these training ids; labels may have been corrected since."""
    ordered = sorted(ids)
    for contest in CONTESTS:
        if len(ordered) == contest.ids and id_proof(ordered) == contest.proof:
            return contest
    return None


def id_proof(ordered: Iterable[str]) -> str:
    """sha256 over ids, joined by line feeds."""
    return hashlib.sha256("\n".join(ordered).encode(errors="backslashreplace")).hexdigest()
