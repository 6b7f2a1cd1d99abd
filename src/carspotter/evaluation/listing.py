"""An ad: a declared model and several photos, judged together; and what ads of one model cost."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import sqrt

import numpy as np
import numpy.typing as npt

from carspotter.data.wording import brief, count
from carspotter.errors import Reason
from carspotter.evaluation.answer import NOBODY, UNFITTED
from carspotter.evaluation.metrics import log_softmax, softmax
from carspotter.records import Calibration, Evidence, Listed, ListingVerdict, Scores, Verdict

DOUBT = 0.05
"""The declared model's probability up to which another one is called a mismatch: the counterpart of the 95 % intervals
everywhere else."""
STRANGE = 2
"""Photos that must be unlike everything that was taught before they speak against a declared model. Assumption: one of
twenty photos of a known model is (`Calibration.refused`), two of one ad are no accident."""
UNTOLD = 0.5
"""Suspicion where photos tell nothing."""
FEWEST_PRICES = 3
"""Ads whose prices make a median (assumption)."""

Floats = npt.NDArray[np.float64]
CURRENCIES = frozenset({"₽", "р", "руб", "рублей", "rub", "$", "usd", "€", "eur", "£", "gbp", "₸", "kzt", "byn"})
"""Words that may stand behind a price."""
_PRICE = re.compile(
    r"(?:[^\d.,=+*/-]*)(?P<whole>\d{1,3}(?:([ .,'])\d{3})(?:\2\d{3})*|\d+)"
    r"(?:[.,](?P<cents>\d{1,2}))?\s?(?P<after>[^\d]*)"
)
_LETTERS = re.compile(r"[\W_]+")


def join_photos(logits: npt.NDArray[np.float32], temperature: float) -> Floats:
    """(n, K) logits of several photos of one car → (K,) probabilities.

    A logarithmic opinion pool: C. Genest, J. Zidek, "Combining probability distributions", Statistical Science 1
    (1986), 114-148. Its weights sum to the root of n. Assumption: photos of one ad are neither independent witnesses
    (weights would sum to n) nor one and the same (to 1).

    Raises:
        ValueError: no photo.
    """
    if not len(logits):
        raise ValueError("no photo to join")
    sure = log_softmax(np.asarray(logits, np.float64) / temperature)
    return np.asarray(softmax((sure.mean(0) * sqrt(len(logits)))[None])[0])


def find_class(declared: str, classes: Sequence[str]) -> int | None:
    """The class that an ad means, or None: by letters and digits alone, so that `BMW X5` is `bmw_x5`.

    Where none is called so, the one whose words stand in the ad's, as in `BMW X5 xDrive30d`; of several the one that
    holds all the others, so that an ad of two models means neither.
    """
    wanted = _plain(declared)
    found = [at for at, name in enumerate(classes) if wanted and _plain(name) == wanted]
    if not found:
        spelt = [_words(name) for name in classes]
        named = [at for at, words in enumerate(spelt) if words.strip() and words in _words(declared)]
        found = [at for at in named if all(spelt[other] in spelt[at] for other in named)]
    return found[0] if len(found) == 1 else None


def check_listing(
    declared: str,
    scores: Scores,
    classes: Sequence[str],
    calibration: Calibration | None,
    strangers: Mapping[str, Verdict] = NOBODY,
) -> Listed:
    """Whether the photos of an ad show the model that it declares.

    Args:
        declared: as the ad says.
        scores: of its photos; those that cannot be used are in `rejected`.
        classes: the K class names in index order.
        calibration: of the model.
        strangers: photos that show none of the classes.
    """
    trust = calibration or UNFITTED
    known = [at for at, photo in enumerate(scores.ids) if photo not in strangers]
    at = find_class(declared, classes)
    if not known:
        return _nothing_known(declared, at, _evidence(scores, strangers))
    shares = join_photos(scores.logits[known], trust.temperature)
    best = int(shares.argmax())
    seen = _evidence(scores, strangers, classes[best], float(shares[best]))
    sure = float(shares[best]) >= max(trust.name_at, 0.5)
    recognised, told = classes[best] if sure else None, _told(seen)
    if at is None:
        reason = f"the model was not taught {brief(declared) or 'a model without a name'}; {told}"
        return Listed(ListingVerdict.CANNOT_TELL, recognised, None, UNTOLD, reason, seen)
    share, verdict = float(shares[at]), ListingVerdict.CANNOT_TELL
    if sure and at == best:
        verdict = ListingVerdict.MATCH
    elif sure and share <= DOUBT:
        verdict = ListingVerdict.MISMATCH
    reason = told if at == best else f"{told}; {classes[at]} {share:.0%}"
    return Listed(verdict, recognised, share, 1 - share, reason, seen)


def price_gaps(
    prices: Sequence[float | None], models: Sequence[str | None], years: Sequence[str] | None = None
) -> tuple[float | None, ...]:
    """How far each ad lies below the median of its model, as a share: .25 is a quarter below, -.1 a tenth above.

    Args:
        prices: None where there is none.
        models: as recognised; None where they are not.
        years: of each ad; ads are then compared within a year.

    Returns:
        None where the price or the model is not known, or fewer than `FEWEST_PRICES` ads have both.
    """
    # An ad without a year is like no other.
    keys = [
        (model if years is None or years[at].strip() else None, years and years[at].strip())
        for at, model in enumerate(models)
    ]
    groups: dict[tuple[str | None, object], list[float]] = {}
    for key, price in zip(keys, prices, strict=True):
        if price is not None:
            groups.setdefault(key, []).append(price)
    medians = {key: float(np.median(some)) for key, some in groups.items() if len(some) >= FEWEST_PRICES and key[0]}
    return tuple(
        None if price is None or not medians.get(key) else 1 - price / medians[key]
        for key, price in zip(keys, prices, strict=True)
    )


def read_price(text: str) -> float | None:
    """A price as people write it: `1 250 000 ₽`, `1,250,000.50`, `$12.500`; None where no number can be meant.

    Points and commas part thousands in threes; the last one is decimal where one or two digits follow it. A word behind
    the number that is no currency (`тыс.`, `млн`, `k`) makes it another number, so there is none.
    """
    found = _PRICE.fullmatch(" ".join(text.split()))
    if found is None or (found["after"] and found["after"].strip(" .").casefold() not in CURRENCIES):
        return None
    whole, cents = re.sub(r"\D", "", found["whole"]), found["cents"]
    number = float(f"{whole}.{cents}" if cents else whole)
    return number if 0 < number < 1e12 else None


def _words(name: str) -> str:
    """Each word of letters and digits between two spaces."""
    return f" {_LETTERS.sub(' ', name).casefold().strip()} "


def _plain(name: str) -> str:
    return _LETTERS.sub("", name).casefold()


def _evidence(
    scores: Scores, strangers: Mapping[str, Verdict], likeliest: str | None = None, share: float | None = None
) -> Evidence:
    told = [strangers[photo] for photo in scores.ids if photo in strangers]
    return Evidence(
        photos=len(scores.ids) - len(told),
        likeliest=likeliest,
        share=share,
        unknown=told.count(Verdict.UNKNOWN),
        no_car=told.count(Verdict.NOT_A_CAR),
        unusable=sum(one.reason is not Reason.TOO_MANY for one in scores.rejected),
        left_out=tuple(one.sentence for one in scores.rejected if one.reason is Reason.TOO_MANY),
    )


def _told(seen: Evidence) -> str:
    """The evidence as one line."""
    kinds = (
        (seen.unknown, "unlike every known model"),
        (seen.no_car, "without a car seen from outside"),
        (seen.unusable, "unusable"),
    )
    known = [f"{count(seen.photos, 'photo')}: {seen.likeliest} {seen.share:.0%}"] if seen.photos else []
    found = [*known, *(f"{number} {what}" for number, what in kinds if number)]
    return "; ".join([*(found or ["no photo"]), *seen.left_out])


def _nothing_known(declared: str, at: int | None, seen: Evidence) -> Listed:
    """The verdict where no photo shows a known model."""
    told = _told(seen)
    if seen.no_car and not seen.unknown and seen.no_car >= seen.unusable:  # else most photos tell nothing at all
        return Listed(ListingVerdict.NOT_EXTERIOR, None, None, UNTOLD, told, seen)
    if at is not None and seen.unknown >= STRANGE:
        return Listed(ListingVerdict.MISMATCH, None, None, 1 - DOUBT, f"{told}, so hardly {brief(declared)}", seen)
    return Listed(ListingVerdict.CANNOT_TELL, None, None, UNTOLD, told, seen)
