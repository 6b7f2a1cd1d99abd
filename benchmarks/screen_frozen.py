"""Techniques tried on a frozen backbone: pooling, heads, losses, preprocessing, views, sizes; minutes for all of them.

    python benchmarks/screen_frozen.py ../shared/data/contest --backbone car-lite0

Each variant answers every photo once per seed by a head that never saw it (stratified folds, near copies on one side),
so all are judged on the same pooled out-of-fold answers. The first line is the base; the others are paired with it.
A frozen backbone is not a fine-tuned one: what helps here is worth a training, what harms here may still help there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from carspotter.data.cache import PhotoCache, default_cache_folder
from carspotter.data.duplicates import near_duplicates
from carspotter.data.scan import scan
from carspotter.data.source import read_source
from carspotter.data.split import split
from carspotter.data.views import View, apply_view
from carspotter.evaluation.paired import pair
from carspotter.records import Geometry, Pixels
from carspotter.training.backbones import find_backbone, load_backbone
from carspotter.training.classifier import Body, Classifier, Head
from carspotter.training.loop import evaluating

SEEDS, FOLDS, STEPS = 3, 5, 200
Change = Callable[[Pixels], Pixels]


@dataclass(frozen=True)
class Net:
    """Maps of all photos in plain and mirrored view."""

    plain: Tensor
    mirrored: Tensor


def gamma(power: float) -> Change:
    table = (255 * (np.arange(256) / 255) ** power).round().astype(np.uint8)
    return lambda pixels: table[pixels]


def autocontrast(pixels: Pixels) -> Pixels:
    low, high = np.percentile(pixels, (1, 99))
    return np.clip((pixels - low) * (255 / max(high - low, 1)), 0, 255).astype(np.uint8)


def equalise_dark(pixels: Pixels) -> Pixels:
    """Gamma only where the photo is dark, as far as its mean is to come to 0.45."""
    mean = pixels.mean() / 255
    return gamma(float(np.log(0.45) / np.log(mean)))(pixels) if 0.02 < mean < 0.3 else pixels


def maps(classifier: Classifier, photos: list[Pixels]) -> Tensor:
    made = []
    with evaluating(classifier):
        for start in range(0, len(photos), 32):
            prepared = classifier.prepare(torch.from_numpy(np.stack(photos[start : start + 32])))
            made.append(classifier.body.feature_map(prepared))
    return torch.cat(made).clone()


def attended(photos: list[Pixels], found: Tensor, share: float = 0.5) -> list[Pixels]:
    """Zoom to where the map is strong: the smallest box around cells above `share` of the range."""
    zoomed = []
    for pixels, one in zip(photos, found.mean(1), strict=True):
        strong = (one >= one.min() + share * (one.max() - one.min())).nonzero().float()
        cells = torch.tensor(one.shape, dtype=torch.float32)
        low, high = strong.min(0).values / cells, (strong.max(0).values + 1) / cells
        middle, size = (low + high) / 2, (high - low).max().clamp(0.4, 1.0)
        view = View(
            zoom=float(1 / size), shift_x=float((0.5 - middle[1]) / size), shift_y=float((0.5 - middle[0]) / size)
        )
        zoomed.append(apply_view(pixels, view))
    return zoomed


def average(found: Tensor) -> Tensor:
    return found.mean((2, 3))


def second_order(found: Tensor, project: Tensor) -> Tensor:
    """Covariance of 48 principal channels, signed root, unit length (Lin & Maji 2017's improved bilinear pooling)."""
    flat = torch.einsum("nchw,cd->nhwd", found, project).flatten(1, 2)
    flat = flat - flat.mean(1, keepdim=True)
    cov = torch.einsum("npd,npe->nde", flat, flat) / flat.shape[1]
    rows, columns = torch.triu_indices(cov.shape[1], cov.shape[1])
    upper = cov[:, rows, columns]
    return F.normalize(upper.sign() * upper.abs().sqrt()) * upper.shape[1] ** 0.5


@dataclass(frozen=True)
class Fit:
    """How a head is fitted on vectors."""

    hidden: int = 0
    smoothing: float = 0.0
    mixup: float = 0.0
    margin: float | None = None
    balanced: bool = False
    decay: float = 0.03
    dropout: float = 0.2
    lr: float = 3e-3

    def logits(self, x: Tensor, y: Tensor, test: Tensor, classes: int, seed: int) -> Tensor:
        torch.manual_seed(seed)
        mean, std = x.mean(0), x.std(0) + 1e-6
        x, test = (x - mean) / std, (test - mean) / std
        head = Head(x.shape[1], classes, hidden=self.hidden, batchnorm=bool(self.hidden), dropout=self.dropout)
        optimizer = torch.optim.AdamW(head.parameters(), lr=self.lr, weight_decay=self.decay / self.lr * 0.1)
        counts = torch.bincount(y, minlength=classes).float()
        weight = counts.mean() / counts if self.balanced else None
        for step in range(STEPS):
            for group in optimizer.param_groups:
                group["lr"] = self.lr * 0.5 * (1 + np.cos(np.pi * step / STEPS))
            index = torch.randint(0, len(x), (128,))
            inputs, targets = x[index], F.one_hot(y[index], classes).float()
            if self.mixup:
                share, other = np.random.default_rng((seed, step)).beta(self.mixup, self.mixup), torch.randperm(128)
                inputs, targets = (
                    share * inputs + (1 - share) * inputs[other],
                    share * targets + (1 - share) * targets[other],
                )
            loss = F.cross_entropy(self._train(head, inputs, targets), targets, weight, label_smoothing=self.smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        head.eval()
        with torch.inference_mode():
            return head(test) if self.margin is None else 16 * self._cosine(head, test)

    def _cosine(self, head: Head, inputs: Tensor) -> Tensor:
        return F.linear(F.normalize(head.embed(inputs)), F.normalize(head.linear.weight))

    def _train(self, head: Head, inputs: Tensor, targets: Tensor) -> Tensor:
        head.train()
        if self.margin is None:
            return cast("Tensor", head(inputs))
        cosine = self._cosine(head, head.dropout(inputs)).clamp(-0.999, 0.999)  # ArcFace (Deng et al. 2019)
        return 16 * torch.where(targets > 0, torch.cos(torch.acos(cosine) + self.margin), cosine)


def main() -> None:  # noqa: C901, PLR0915 - what is tried, one after the other
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--also", nargs="*", default=[], help="further backbones at the base size")
    parser.add_argument("--size", default="144x192", help="HEIGHTxWIDTH")
    parser.add_argument("--larger", nargs="*", default=["240x320"], help="further sizes")
    args = parser.parse_args()
    height, width = map(int, args.size.split("x"))
    base = Geometry(height=height, width=width)
    looked = scan(read_source(args.source))
    data, labels = looked.dataset, torch.from_numpy(looked.dataset.labels)
    folds = split(data, near_duplicates(looked.facts), method="folds", share=0.2, folds=FOLDS, fold=0, seed=0).folds
    fold_of = np.array([folds[photo.id] for photo in data.photos])
    cache = PhotoCache(default_cache_folder())
    nets: dict[str, Classifier] = {}

    def net(name: str) -> Classifier:
        if name not in nets:
            backbone, card = load_backbone(find_backbone(name), height=height, width=width)
            nets[name] = Classifier(Body(backbone, "avg"), Head(1, 2), mean=card.mean, std=card.std)
        return nets[name]

    def photos(geometry: Geometry, change: Change | None = None) -> list[Pixels]:
        seen = [cache.pixels(photo, geometry) for photo in data.photos]
        return seen if change is None else [change(pixels) for pixels in seen]

    def both(seen: list[Pixels], name: str = args.backbone) -> Net:
        return Net(maps(net(name), seen), maps(net(name), [np.ascontiguousarray(p[:, ::-1]) for p in seen]))

    def out_of_fold(vectors: tuple[Tensor, Tensor], fit: Fit, *, tta: bool = False) -> list[npt.NDArray[np.float32]]:
        plain, mirrored = vectors
        answers = []
        for seed in range(SEEDS):
            logits = torch.zeros(len(labels), len(data.classes))
            for fold in range(FOLDS):
                train, test = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
                x, y = torch.cat([plain[train], mirrored[train]]), labels[train].repeat(2)
                views = [plain[test], mirrored[test]] if tta else [plain[test]]
                both_ways = fit.logits(x, y, torch.cat(views), len(data.classes), seed)
                logits[test] = torch.stack(both_ways.split(len(test))).log_softmax(-1).exp().mean(0).log()
            answers.append(logits.numpy())
        return answers

    rows: list[tuple[str, list[npt.NDArray[np.float32]], float]] = []

    def tell(name: str, vectors: tuple[Tensor, Tensor], fit: Fit = Fit(), *, tta: bool = False) -> None:
        started = time.perf_counter()
        answers = out_of_fold(vectors, fit, tta=tta)
        rows.append((name, answers, time.perf_counter() - started))
        right = [a.argmax(1) == labels.numpy() for a in answers]
        loss = np.mean([float(F.cross_entropy(torch.from_numpy(a), labels)) for a in answers])
        line = f"{name:34} accuracy {np.mean(right):.3f}  log loss {loss:.3f}"
        if len(rows) > 1:
            ids = np.tile(np.arange(len(labels)), SEEDS)
            first = np.concatenate([a.argmax(1) == labels.numpy() for a in rows[0][1]])
            line += f"  {pair(ids, first, ids, np.concatenate(right)).difference.value:+.3f} "
            difference = pair(ids, first, ids, np.concatenate(right)).difference
            line += f"[{difference.low:+.3f}, {difference.high:+.3f}]"
        print(line, flush=True)

    whole = both(photos(base))
    vectors = (average(whole.plain), average(whole.mirrored))
    tell(f"base {args.backbone} {args.size}", vectors)
    tell("mirror at test", vectors, tta=True)
    for name, fit in {
        "label smoothing .1": Fit(smoothing=0.1),
        "mixup .2 of vectors": Fit(mixup=0.2),
        "mixup 1 of vectors": Fit(mixup=1.0),
        "balanced loss": Fit(balanced=True),
        "hidden 128, BatchNorm": Fit(hidden=128),
        "cosine softmax": Fit(margin=0.0),
        "ArcFace .2": Fit(margin=0.2),
        "no dropout": Fit(dropout=0.0),
        "dropout .5": Fit(dropout=0.5),
        "decay x10": Fit(decay=0.3),
        "lr /3": replace(Fit(), lr=1e-3),
    }.items():
        tell(name, vectors, fit)
    tell("max pooling", tuple(m.amax((2, 3)) for m in (whole.plain, whole.mirrored)))  # type: ignore[arg-type]
    tell("avg + max pooling", tuple(m.mean((2, 3)) + m.amax((2, 3)) for m in (whole.plain, whole.mirrored)))  # type: ignore[arg-type]
    tell("GeM 3", tuple(m.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3) for m in (whole.plain, whole.mirrored)))  # type: ignore[arg-type]
    flat = whole.plain.permute(0, 2, 3, 1).flatten(0, 2)
    project = torch.pca_lowrank(flat[torch.randperm(len(flat))[:8000]], 48)[2]
    tell("second order 48", (second_order(whole.plain, project), second_order(whole.mirrored, project)))
    for name, change in {
        "gamma .7": gamma(0.7),
        "auto-contrast": autocontrast,
        "gamma where dark": equalise_dark,
    }.items():
        seen = both(photos(base, change))
        tell(name, (average(seen.plain), average(seen.mirrored)))
    zoomed = both(attended(photos(base), whole.plain))
    tell("attention crop alone", (average(zoomed.plain), average(zoomed.mirrored)))
    tell(
        "whole + attention crop",
        tuple(torch.cat([a, average(b)], 1) for a, b in zip(vectors, (zoomed.plain, zoomed.mirrored), strict=True)),
    )  # type: ignore[arg-type]
    for size in args.larger:
        rows_, columns_ = map(int, size.split("x"))
        seen = both(photos(Geometry(height=rows_, width=columns_)))
        tell(f"size {size}", (average(seen.plain), average(seen.mirrored)))
    for fit_kind in ("crop", "stretch"):
        seen = both(photos(base.model_copy(update={"fit": fit_kind})))
        tell(f"fit {fit_kind}", (average(seen.plain), average(seen.mirrored)))
    for name in args.also:
        seen = both(photos(base), name)
        tell(f"backbone {name}", (average(seen.plain), average(seen.mirrored)))


if __name__ == "__main__":
    main()
