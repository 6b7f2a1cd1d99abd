"""A pool of photos that several steps ask about: read once, and shown to a model once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from carspotter.data.cache import PhotoCache
from carspotter.data.scan import PhotoFacts, Scan, scan
from carspotter.inference.predictor import Predictor
from carspotter.progress import Progress, silent
from carspotter.records import Dataset, Scores, Verdict

TTA = 2
"""Views a teacher looks at: the photo and its mirror image. Assumption: more cost more than they tell."""


class Survey:
    """What a model says of a pool, and what one look at each photo tells.

    Each is found out when it is first asked for, since who asks may refuse the pool before that, and then kept.

    Args:
        predictor: of the model.
        photos: the pool.
        unseen: photos of which no near copy may train; None: there are none.
        cache: of decoded photos.
        progress: told about photos.
    """

    def __init__(
        self,
        predictor: Predictor,
        photos: Dataset,
        unseen: Dataset | None = None,
        *,
        cache: PhotoCache | None = None,
        progress: Progress = silent,
    ) -> None:
        self.predictor, self.photos, self.unseen = predictor, photos, unseen
        self._cache, self._progress = cache, progress

    @cached_property
    def scores(self) -> Scores:
        """Of the pool, at `TTA` views.

        Raises:
            BundleError: the network itself fails.
        """
        return self.predictor.scores(self.photos, tta=TTA, cache=self._cache, progress=self._progress)

    @cached_property
    def strangers(self) -> Mapping[str, Verdict]:
        """The photos of the pool that show nothing that the model knows, as `Predictor.strangers` has them."""
        return self.predictor.strangers(self.photos, self.scores, progress=self._progress)

    @cached_property
    def looked(self) -> Scan:
        """The pool, each photo read and decoded."""
        return scan(self.photos, progress=self._progress)

    @cached_property
    def unseen_facts(self) -> tuple[PhotoFacts, ...]:
        """Of the photos that must stay unseen."""
        return () if self.unseen is None else scan(self.unseen, progress=self._progress).facts

    def scan_of(self, part: Dataset) -> Scan:
        """What `scan` would tell of some photos of the pool, whatever their labels are here."""
        facts = {fact.id: fact for fact in self.looked.facts}
        photos = tuple(replace(photo, digest=facts[photo.id].digest) for photo in part.photos if photo.id in facts)
        asked = {photo.id for photo in part.photos}
        refused = self.looked.dataset.rejected[len(self.photos.rejected) :]  # before these are the source's own
        rejected = (*part.rejected, *(row for row in refused if row.id in asked))
        return Scan(replace(part, photos=photos, rejected=rejected), tuple(facts[photo.id] for photo in photos))
