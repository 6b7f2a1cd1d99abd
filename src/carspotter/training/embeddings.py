"""What frozen nets, or a trained model, make of photos; with a model's Predictor this needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from carspotter.data.cache import PhotoCache
from carspotter.data.scan import Scan
from carspotter.data.wording import brief
from carspotter.errors import BackboneError, SourceError
from carspotter.evaluation.near import Vectors
from carspotter.progress import Progress
from carspotter.records import BackboneCard, BundleCard, Dataset, Geometry, Photo, Rejected
from carspotter.workers import in_order, usable_cores

if TYPE_CHECKING:
    from carspotter.inference.predictor import Predictor
    from carspotter.inference.runtime import Runtime

NETS = ("car-lite0", "tf_efficientnet_lite0")
"""Frozen nets that are asked: one's own that knows cars, where `pretrain` has left it, and the packaged one, which
knows interiors, trucks and banners. Measured on 488 ads of 15 models: heads are right .58 and .32 of the time."""
GEOMETRY = Geometry(height=144, width=192)
"""What they see: the car net's own last size, 90 photos a second on one core."""
AHEAD = 4
"""Photos in flight per thread (assumption)."""

Told = Callable[[Scan], tuple[str, ...]]
"""A set as scanned → what must be said of a net that trained on its photos, a sentence each."""


def _nothing(_: Scan) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """What one net makes of N photos.

    Attributes:
        net: its name.
        views: (N, D) each: the photos, and perhaps their mirror images.
        told: what the net may know of a set's labels, having trained on it.
    """

    net: str
    views: tuple[Vectors, ...]
    told: Told = _nothing

    def first(self, count: int) -> Embedded:
        """The same of the first photos only."""
        return replace(self, views=tuple(view[:count] for view in self.views))


Embed = Callable[[Sequence[Photo], Progress], Sequence[Embedded]]
"""Photos that can be read → what each net makes of them."""


def model_embeddings(predictor: Predictor, cache: PhotoCache | None = None) -> Embed:
    """Embeddings of a trained model; no torch. A model that trained on the very photos believes their labels."""

    def embed(photos: Sequence[Photo], progress: Progress) -> Sequence[Embedded]:
        numbered = tuple(replace(photo, id=str(at)) for at, photo in enumerate(photos))
        scores = predictor.scores(Dataset(numbered), cache=cache, progress=progress)
        _refuse_lost([replace(r, id=photos[int(r.id)].id) for r in scores.rejected])
        return (Embedded(predictor.card.name, (scores.embeddings,), partial(_model_told, predictor.card)),)

    return embed


def backbone_embeddings(nets: Sequence[str] = (), cache: PhotoCache | None = None) -> Embed:
    """Embeddings of frozen backbones, of the photos and their mirror images.

    Args:
        nets: names as `carspotter backbones` lists them; empty: those of NETS that are here.
        cache: of decoded photos.
    """

    def embed(photos: Sequence[Photo], progress: Progress) -> Sequence[Embedded]:
        from carspotter.training.allocator import keep_memory
        from carspotter.training.backbones import find_backbone

        keep_memory()
        shown, made = PhotoCache(None) if cache is None else cache, []
        for net in nets or _nets_here():
            card = find_backbone(net)
            views = _run(_exported(card), photos, shown, partial(_tell, progress, net, len(photos)))
            made.append(Embedded(net, views, partial(_own_told, card) if card.source == "own" else _nothing))
        return made

    return embed


# ---- what they have seen --------------------------------------------------------------------------------------------


def _model_told(card: BundleCard, looked: Scan) -> tuple[str, ...]:
    name, own = brief(card.name), card.backbone
    if card.dataset == looked.dataset.fingerprint:
        told = f"{name} was trained on these very photos and labels, and believes them: audit without --model"
    else:
        told = (
            f"whether {name} was trained on some of these photos cannot be told: its card names another set "
            f"(fingerprint {card.dataset[:12]})"
        )
    began = f"; it began from {own.known_as}: {own.origin}" if own.source == "own" else ""
    return (f"{told}; wrong labels that it has learned are judged too mildly{began}",)


def _own_told(card: BackboneCard, looked: Scan) -> tuple[str, ...]:
    """Raises nothing: an audit goes on without the list of what a backbone has seen."""
    from carspotter.training.seen import seen_photos

    try:
        seen = seen_photos(card)
    except BackboneError as fault:
        return (str(fault),)
    exact, near = seen.copies(looked.facts)
    told = f"{card.known_as} was trained on {exact} of the {len(looked.facts)} photos and on near copies of {near} more"
    if exact or near:
        told += ": wrong labels that it has learned are judged too mildly"
    blind = len(seen.digests) - len(seen.facts)
    return (f"{told}; near copies of {blind:,} photos it has seen cannot be told" if blind else told,)


# ---- running them ---------------------------------------------------------------------------------------------------


def _nets_here() -> list[str]:
    from carspotter.training.backbones import find_backbone, is_here

    here = []
    for net in NETS:
        try:
            if is_here(find_backbone(net)):
                here.append(net)
        except BackboneError:  # an own net that was never made, or is damaged: the other serves
            continue
    return here


def _exported(card: BackboneCard) -> Runtime:
    """A backbone in ONNX Runtime, which is several times as fast as torch at this."""
    from carspotter.inference.runtime import open_runtime
    from carspotter.training.backbones import load_backbone
    from carspotter.training.classifier import Body, Classifier, Head
    from carspotter.training.export import exported

    body, card = load_backbone(card, height=GEOMETRY.height, width=GEOMETRY.width)
    head = Head(int(body.num_features), 1)  # type: ignore[arg-type]
    net = Classifier(Body(body, "avg"), head, mean=card.mean, std=card.std)
    return open_runtime(exported(net, GEOMETRY), threads=1)


def _run(
    net: Runtime, photos: Sequence[Photo], cache: PhotoCache, tell: Callable[[int], None]
) -> tuple[Vectors, Vectors]:
    def look(photo: Photo) -> tuple[Vectors, Vectors]:
        pixels = cache.pixels(photo, GEOMETRY)
        mirrored = np.ascontiguousarray(pixels[:, ::-1])
        return net.run(pixels[None]).embeddings[0], net.run(mirrored[None]).embeddings[0]

    plain, mirror = (np.empty((len(photos), net.dimensions), dtype=np.float32) for _ in range(2))
    threads = usable_cores()
    with closing(in_order(look, photos, threads=threads, ahead=threads * AHEAD)) as rows:
        for at, (one, other) in enumerate(rows):
            plain[at], mirror[at] = one, other
            tell(at + 1)
    return plain, mirror


def _tell(progress: Progress, net: str, total: int, done: int) -> None:
    progress(net, done, total)


def _refuse_lost(rejected: Sequence[Rejected]) -> None:
    if rejected:
        raise SourceError([f"{r.id} could be read a moment ago and cannot be now: {r.sentence}" for r in rejected])
