"""From a set to findings: photos are looked at once, embedded by frozen nets, and judged by `evaluation/audit.py`.

Nothing is trained but linear heads on embeddings. With a model's Predictor this needs no torch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from carspotter.data.cache import PhotoCache
from carspotter.data.duplicates import Copy, find_copies, group_copies
from carspotter.data.quality import BOUNDS, Quality, measure_all
from carspotter.data.scan import Scan, scan
from carspotter.data.split import TRAINS, split
from carspotter.data.wording import count
from carspotter.errors import BackboneError, SourceError
from carspotter.evaluation import audit as judge
from carspotter.evaluation.audit import Index, Near, Vectors
from carspotter.progress import Progress, silent
from carspotter.records import Dataset, Finding, Geometry, Kind, Photo, Rejected
from carspotter.workers import in_order, usable_cores

if TYPE_CHECKING:
    from carspotter.inference.predictor import Predictor
    from carspotter.inference.runtime import Runtime

NETS = ("car-lite0", "tf_efficientnet_lite0")
"""Frozen nets that are asked: one's own that knows cars, where `pretrain` has left it, and the packaged one, which
knows interiors, trucks and banners. Measured on 488 ads of 15 models: heads are right .58 and .32 of the time."""
GEOMETRY = Geometry(height=144, width=192)
"""What they see: the car net's own last size, 90 photos a second on one core."""
FOLDS = 5
AHEAD = 4
"""Photos in flight per thread (assumption)."""
COPY_NEIGHBOURS = 5
"""Nearest photos, and nearest mirror images, that are laid on each photo to find copies."""
BORDER = 10
"""Findings of a kind below the line that are listed too, so that a reader sees where it was drawn."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What one net makes of N photos.

    Attributes:
        net: its name.
        views: (N, D) each: the photos, and perhaps their mirror images.
    """

    net: str
    views: tuple[Vectors, ...]


Embed = Callable[[Sequence[Photo], Progress], Sequence[Seen]]
"""Photos that can be read → what each net makes of them."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found.

    Attributes:
        dataset: as scanned; what could not be read is in `rejected`.
        findings: by kind, the surest first.
        notes: how far to trust them, a sentence each.
    """

    dataset: Dataset
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def audit(
    dataset: Dataset, embed: Embed, *, against: Mapping[str, Dataset] | None = None, progress: Progress = silent
) -> Audit:
    """Look for everything that may be wrong with a set.

    Args:
        dataset: labelled or not.
        embed: `backbone_embeddings` or `model_embeddings`.
        against: name → photos of which this set should hold no copies (validation, test).
        progress: told what goes on.

    Raises:
        SourceError: no photo can be read.
        MissingExtra: `carspotter[audit]` is not installed.
    """
    looked = scan(dataset, progress=progress)  # 1. what can be read
    if not looked.facts:
        raise SourceError(f"{dataset.origin}: none of its {count(len(dataset.photos), 'photo')} can be read")
    others = {name: scan(other, progress=progress) for name, other in (against or {}).items()}
    photos = [*looked.dataset.photos, *(p for other in others.values() for p in other.dataset.photos)]
    seen = embed(photos, progress)  # 2. what nets see
    copies = _copies(looked, others, seen)  # 3. copies, here and across
    mine = len(looked.facts)
    groups = group_copies([c for c in copies if c.second < mine], mine)
    quality = measure_all(looked.dataset.photos, progress)  # 4. how well they were taken
    own = [Seen(one.net, tuple(view[:mine] for view in one.views)) for one in seen]
    nears = [judge.nearest(one.views[0]) for one in own]  # 5. strange ones
    found = list(_quality_findings(looked.dataset.photos, quality))
    spoiled = {f.id: str(f.kind) for f in found if f.is_issue and f.kind is not Kind.ODD_ASPECT}
    found += (outliers := _outlier_findings(looked.dataset.photos, nears, spoiled))
    spoiled |= {f.id: str(f.kind) for f in outliers if f.is_issue}
    about, notes = _label_findings(looked.dataset, own, nears, groups, spoiled)  # 6. labels
    found += [*about, *_copy_findings(photos, copies, _parts(looked, others))]
    refused = [other for other in others.values() if other.dataset.rejected]
    notes += tuple(f"{s.dataset.origin}: {count(len(s.dataset.rejected), 'photo')} could not be read" for s in refused)
    return Audit(looked.dataset, _listed(found), notes)


# ---- what nets see --------------------------------------------------------------------------------------------------


def model_embeddings(predictor: Predictor, cache: PhotoCache | None = None) -> Embed:
    """Embeddings of a trained model; no torch. A model that trained on the very photos believes their labels."""

    def embed(photos: Sequence[Photo], progress: Progress) -> Sequence[Seen]:
        numbered = tuple(replace(photo, id=str(at)) for at, photo in enumerate(photos))
        scores = predictor.scores(Dataset(numbered), cache=cache, progress=progress)
        _refuse_lost([replace(r, id=photos[int(r.id)].id) for r in scores.rejected])
        return (Seen(predictor.card.name, (scores.embeddings,)),)

    return embed


def backbone_embeddings(nets: Sequence[str] = (), cache: PhotoCache | None = None) -> Embed:
    """Embeddings of frozen backbones, of the photos and their mirror images.

    Args:
        nets: names as `carspotter backbones` lists them; empty: those of NETS that are here.
        cache: of decoded photos.
    """

    def embed(photos: Sequence[Photo], progress: Progress) -> Sequence[Seen]:
        from carspotter.training.allocator import keep_memory

        keep_memory()
        shown, made = PhotoCache(None) if cache is None else cache, []
        for net in nets or _nets_here():
            views = _run(_exported(net), photos, shown, partial(_tell, progress, net, len(photos)))
            made.append(Seen(net, views))
        return made

    return embed


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


def _exported(net: str) -> Runtime:
    """A backbone in ONNX Runtime, which is several times as fast as torch at this."""
    from carspotter.inference.runtime import open_runtime
    from carspotter.training.backbones import find_backbone, load_backbone
    from carspotter.training.classifier import Body, Classifier, Head
    from carspotter.training.export import export_onnx

    body, card = load_backbone(find_backbone(net), height=GEOMETRY.height, width=GEOMETRY.width)
    head = Head(int(body.num_features), 1)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        export_onnx(Classifier(Body(body, "avg"), head, mean=card.mean, std=card.std), GEOMETRY, path)
        return open_runtime(path.read_bytes(), threads=1)


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


# ---- copies ---------------------------------------------------------------------------------------------------------


def _copies(looked: Scan, others: Mapping[str, Scan], seen: Sequence[Seen]) -> tuple[Copy, ...]:
    facts = [*looked.facts, *(fact for other in others.values() for fact in other.facts)]
    views = seen[0].views
    nears = [judge.nearest(views[0], COPY_NEIGHBOURS, queries=view) for view in views]
    return find_copies(facts, also=np.concatenate([_pairs(near) for near in nears]))


def _pairs(near: Near) -> Index:
    rows = np.repeat(np.arange(len(near.photos)), near.photos.shape[1])
    pairs = np.stack([rows, near.photos.ravel()], axis=1)
    return pairs[pairs[:, 1] >= 0]


def _parts(looked: Scan, others: Mapping[str, Scan]) -> list[str]:
    """The name of the set of each photo; empty for the audited one."""
    return ["" for _ in looked.facts] + [name for name, other in others.items() for _ in other.facts]


def _copy_findings(photos: Sequence[Photo], copies: Sequence[Copy], parts: Sequence[str]) -> Iterator[Finding]:
    for copy in copies:
        first, second = photos[copy.first], photos[copy.second]
        side = parts[copy.second]
        if parts[copy.first]:  # both outside: not ours to judge
            continue
        how = "the same bytes" if copy.exact else f"the same picture, alike {copy.likeness:.2f} in detail"
        how += ", mirrored" if copy.mirrored else ""
        if side:
            yield Finding(first.id, Kind.LEAK, 1 - copy.likeness, True, f"{how}, is also in {side}", second.id)
            continue
        if first.label != second.label:
            how += f"; labelled {second.label} here and {first.label} there"
        kind = Kind.EXACT_DUPLICATE if copy.exact else Kind.NEAR_DUPLICATE
        yield Finding(second.id, kind, 1 - copy.likeness, True, how, first.id)


# ---- single photos --------------------------------------------------------------------------------------------------

_QUALITY = {
    Kind.DARK: "mean brightness {:.2f}",
    Kind.BRIGHT: "all but its darkest twentieth is paler than {:.2f}",
    Kind.BLURRY: "{:.0%} of its fine change is left when it is blurred once more",
    Kind.TINY: "its shorter side is {:.0f} pixels",
    Kind.ODD_ASPECT: "its shorter side is {:.2f} of the longer",
}


def _quality_findings(photos: Sequence[Photo], measured: Sequence[Quality | Rejected]) -> Iterator[Finding]:
    for photo, quality in zip(photos, measured, strict=True):
        if isinstance(quality, Rejected):
            continue
        for kind, sentence in _QUALITY.items():
            score = float(np.clip(getattr(quality, kind), 0, 1))
            shown = {Kind.BRIGHT: 1 - score, Kind.BLURRY: 1 - score, Kind.TINY: quality.shorter}.get(kind, score)
            yield Finding(photo.id, kind, score, score < BOUNDS[kind], sentence.format(shown))


def _outlier_findings(photos: Sequence[Photo], nears: Sequence[Near], spoiled: Mapping[str, str]) -> list[Finding]:
    scores, beyond = judge.outlier_scores(nears)
    found = []
    for photo, score, far in zip(photos, scores.tolist(), beyond.tolist(), strict=True):
        why = f"its nearest photos are {far:.1f} usual spreads farther than those of most"
        why += f"; the photo is {spoiled[photo.id]}, which alone may do that" if photo.id in spoiled else ""
        found.append(Finding(photo.id, Kind.OUTLIER, score, score < 0.5 and photo.id not in spoiled, why))
    return found


# ---- labels ---------------------------------------------------------------------------------------------------------


def _label_findings(
    dataset: Dataset, seen: Sequence[Seen], nears: Sequence[Near], groups: Index, spoiled: Mapping[str, str]
) -> tuple[list[Finding], tuple[str, ...]]:
    labels, classes = dataset.labels, dataset.classes
    if len(classes) < 2 or (labels < 0).any():
        return [], ("labels were not judged: every photo must have one, and there must be two classes",)
    try:
        parts = split(dataset, groups, method="folds", folds=FOLDS, seed=0).folds
    except SourceError as fault:
        return [], (f"labels were not judged: {fault.problems[0]}",)
    folds = np.array([parts[photo.id] for photo in dataset.photos])
    judged = []
    for one, near in zip(seen, nears, strict=True):
        heads = judge.out_of_fold(one.views, labels, folds, len(classes))
        judged.append((one.net, judge.blend(heads, judge.vote(near, labels, groups, len(classes)))))
    held = folds != TRAINS
    net, said = min(judged, key=lambda answer: judge.log_loss(answer[1][held], labels[held]))
    faults = judge.label_faults(said, labels)
    found = []
    for at in np.flatnonzero(held).tolist():
        photo, guess = dataset.photos[at], classes[int(faults.guess[at])]
        likely, given = said[at, faults.guess[at]], said[at, labels[at]]
        why = f"photos not shown this label say {guess} {likely:.2f}, {photo.label} {given:.2f}"
        why += f"; the photo is {spoiled[photo.id]}, so this says little" if photo.id in spoiled else ""
        issue = bool(faults.is_issue[at]) and photo.id not in spoiled
        found.append(Finding(photo.id, Kind.LABEL_ERROR, float(faults.score[at]), issue, why, guess))
    right = float((said[held].argmax(axis=1) == labels[held]).mean())
    note = f"labels were judged by {net}, whose heads name {right:.0%} of photos they were not fitted on as labelled"
    return found + _overlap_findings(dataset, said[held], labels[held]), (note,)


def _overlap_findings(dataset: Dataset, said: judge.Floats, labels: Index) -> list[Finding]:
    found = []
    for pair in judge.overlaps(said, labels):
        why = f"{pair.mistaken} of the {pair.photos} photos of both are taken for the other"
        first, second = dataset.classes[pair.first], dataset.classes[pair.second]
        found.append(Finding(first, Kind.CLASS_OVERLAP, pair.score, pair.is_issue, why, second))
    return found


def _listed(found: Sequence[Finding]) -> tuple[Finding, ...]:
    """All issues, and of each kind the nearest others; by kind, the surest first."""
    listed = list[Finding]()
    for kind in Kind:
        of_kind = sorted((f for f in found if f.kind is kind), key=lambda f: (not f.is_issue, f.score, f.id))
        issues = sum(f.is_issue for f in of_kind)
        listed += of_kind[: issues + BORDER]
    return tuple(listed)
