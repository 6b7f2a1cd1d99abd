"""What may be wrong with a photo by itself: how it was taken, and that it shows something else than the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from carspotter.data.quality import BOUNDS, Quality
from carspotter.evaluation.near import Floats, Near, lack_of_evidence, outlier_scores
from carspotter.records import Finding, Kind, Photo, Rejected

_QUALITY = {
    Kind.DARK: "mean brightness {:.2f}",
    Kind.BRIGHT: "all but its darkest twentieth is paler than {:.2f}",
    Kind.BLURRY: "{:.0%} of its fine change is left when it is blurred once more",
    Kind.TINY: "its shorter side is {:.0f} pixels",
    Kind.ODD_ASPECT: "its shorter side is {:.2f} of the longer",
}


def quality_findings(photos: Sequence[Photo], measured: Sequence[Quality | Rejected]) -> Iterator[Finding]:
    """How well photos were taken, each measure a finding.

    Args:
        photos: N.
        measured: of each; one that could not be measured has no finding.
    """
    for photo, quality in zip(photos, measured, strict=True):
        if isinstance(quality, Rejected):
            continue
        for kind, sentence in _QUALITY.items():
            score = float(np.clip(getattr(quality, kind), 0, 1))
            shown = {Kind.BRIGHT: 1 - score, Kind.BLURRY: 1 - score, Kind.TINY: quality.shorter}.get(kind, score)
            yield Finding(photo.id, kind, score, score < BOUNDS[kind], sentence.format(shown))


def outlier_findings(
    photos: Sequence[Photo], nears: Sequence[Near], evidence: Floats, spoiled: Mapping[str, str]
) -> list[Finding]:
    """How strange each photo is to the others, and whether it shows a vehicle.

    Args:
        photos: N.
        nears: the neighbours of each, as each net sees them.
        evidence: (N,) of a vehicle, as `look_for_vehicles` gives it.
        spoiled: id → what else is wrong with a photo and explains its strangeness.
    """
    lacking = lack_of_evidence(evidence)
    scores, beyond = outlier_scores(nears, lacking)
    found = []
    for photo, score, far, lack in zip(photos, scores.tolist(), beyond.tolist(), lacking.tolist(), strict=True):
        why = f"its nearest photos are {far:.1f} usual spreads farther than those of most"
        why += f", and {lack:.1f} spreads less of a car's exterior is seen than in most" if lack else ""
        why += f"; the photo is {spoiled[photo.id]}, which alone may do that" if photo.id in spoiled else ""
        found.append(Finding(photo.id, Kind.OUTLIER, score, score < 0.5 and photo.id not in spoiled, why))
    return found
