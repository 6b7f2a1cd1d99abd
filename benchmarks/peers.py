"""Other libraries on the same photos, the same fold and the same packaged weights, one seed, beside a recipe of ours.

    python benchmarks/peers.py ../shared/data/contest --peer fast              # any recipe
    python benchmarks/peers.py ../shared/data/contest --peer timm
    /tmp/peers/bin/python benchmarks/peers.py ../shared/data/contest --peer fastai
    /tmp/peers/bin/python benchmarks/peers.py ../shared/data/contest --peer transformers
    python benchmarks/peers.py ../shared/data/contest                          # the table again

fastai and transformers (for its Trainer) are no dependencies of ours. An environment of their own that sees ours:

    python3 -m venv /tmp/peers
    .venv/bin/python -c "import sysconfig; print('import site; site.addsitedir(%r)' % sysconfig.get_path('purelib'))" \
        > $(/tmp/peers/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/ours.pth
    /tmp/peers/bin/pip install fastai transformers      # finds our torch and timm, and changes nothing there

Each peer takes its own defaults (`PEERS` says which), photos of the size that `fast` ends with, and as many epochs on
photos as `fast` has, unless --epochs says otherwise; fastai trains its head for one more, and a recipe of ours has its
own. The row says how many there were: the run in docs/log.md gave 14 to `fast`, 12 to fastai and 6 to the others. A
peer that cannot be imported has its reason as its row. Minutes run from the first photo read to the last answer,
imports left out; threads wait as each library has it. The folder given by `--store` keeps every row.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from common import cpu_seconds
from pooled import pool

from carspotter.data.duplicates import near_duplicates
from carspotter.data.photo import read_bytes
from carspotter.data.scan import scan
from carspotter.data.source import read_source
from carspotter.data.split import split
from carspotter.errors import CarspotterError
from carspotter.recipe import Recipe, load_recipe, validate_recipe
from carspotter.records import Dataset, HeldOut, hash_json

NET = "tf_efficientnet_lite0"
WORKERS = 2
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Fold:
    """What every peer gets: `train` and `valid` below a folder, each with a folder of JPEGs per class.

    Attributes:
        root: of both.
        classes: K.
        ids: path below the root → photo id, for the held-out photos.
        labels: the same → class index.
        options: epochs, size, batch, seed.
    """

    root: Path
    classes: int
    ids: dict[str, str]
    labels: dict[str, int]
    options: argparse.Namespace

    @property
    def size(self) -> tuple[int, int]:
        return self.options.height, self.options.width

    def batch(self, own: int) -> int:
        return self.options.batch or own


Answers = dict[str, Floats]
"""Path below the root → (K,) logits."""
Peer = Callable[[Fold], Callable[[], Answers]]
"""Imports and nothing else; the training is what it returns."""


def main() -> int:
    options = read_options()
    options.store.mkdir(parents=True, exist_ok=True)
    dataset = read_source(options.source)
    if options.photos:
        some = np.random.default_rng(0).permutation(len(dataset.photos))[: options.photos]
        dataset = dataset.subset(np.sort(some))
    key = fold_key(dataset, options)
    if options.peer:
        measure(dataset, key, options)
    rows = [json.loads(path.read_text()) for path in sorted(options.store.glob("peer-*.json"))]
    report([row for row in rows if row["key"] == key], options)
    return 0


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--peer", help=f"one of {', '.join(PEERS)}, or a recipe of ours; none: the table alone")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--split-seed", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--epochs",
        type=int,
        default=epochs_on_photos(load_recipe("fast")),
        help="of the peers; a recipe has its own  [default: as many as fast, %(default)s]",
    )
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--batch", type=int, default=0, help="0: what the peer has as its default")
    parser.add_argument("--photos", type=int, default=0, help="only so many, for trying it out")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE on top of a recipe")
    parser.add_argument("--store", type=Path, default=Path("runs/benchmarks/peers"))
    return parser.parse_args()


def fold_key(dataset: Dataset, options: argparse.Namespace) -> str:
    """Rows of one table share it."""
    rows = [[photo.id, photo.label] for photo in dataset.photos]
    return hash_json([rows, options.folds, options.fold, options.split_seed])


def measure(dataset: Dataset, key: str, options: argparse.Namespace) -> None:
    """Train one peer and keep its row."""
    row: dict[str, Any] = {"peer": options.peer, "key": key}
    try:
        row |= ours(dataset, options) if options.peer not in PEERS else theirs(dataset, options)
    except ImportError as fault:
        row["reason"] = f"cannot be imported here: {fault}"
    (options.store / f"peer-{options.peer.replace('/', '-')}.json").write_text(json.dumps(row))


def ours(dataset: Dataset, options: argparse.Namespace) -> dict[str, Any]:
    from carspotter.data.cache import PhotoCache
    from carspotter.tracking.runs import open_store
    from carspotter.training.job import Job
    from carspotter.training.train import train

    tree = load_recipe(options.peer, [f"backbone={NET}", *options.set]).model_dump(mode="json")
    how = {"method": "folds", "folds": options.folds, "fold": options.fold, "seed": options.split_seed}
    recipe = validate_recipe(tree | {"seed": options.seed, "split": tree["split"] | how}, options.peer)
    store = open_store(f"sqlite:///{options.store.resolve()}/runs.db")
    with tempfile.TemporaryDirectory() as place:
        started, before = time.perf_counter(), cpu_seconds()
        run = train(dataset, recipe, job=Job(deliver=False), store=store, cache=PhotoCache(Path(place)))
        costs = {"seconds": time.perf_counter() - started, "cpu": cpu_seconds() - before}
    kept = store.answers(run.id)
    how_told = f"{epochs_on_photos(recipe)} epochs on photos, {len(recipe.stage)} stages"
    return costs | to_json(kept) | {"version": version("carspotter"), "how": how_told}


def theirs(dataset: Dataset, options: argparse.Namespace) -> dict[str, Any]:
    library, how, peer = PEERS[options.peer]
    with tempfile.TemporaryDirectory() as place:
        fold = lay_out(dataset, Path(place), options)
        work = peer(fold)
        started, before = time.perf_counter(), cpu_seconds()
        answers = work()
        costs = {"seconds": time.perf_counter() - started, "cpu": cpu_seconds() - before}
    names = sorted(fold.ids)
    logits = np.stack([answers[name] for name in names]).astype(np.float32)
    kept = HeldOut(tuple(fold.ids[name] for name in names), logits, np.array([fold.labels[name] for name in names]))
    told = how.format(batch=options.batch or "its own")
    return costs | to_json(kept) | {"version": version(library), "how": f"{options.epochs} epochs, {told}"}


def epochs_on_photos(recipe: Recipe) -> int:
    """Those of a head alone are on stored features and cost next to nothing."""
    return sum(stage.epochs for stage in recipe.stage if stage.trains != "head")


def to_json(kept: HeldOut) -> dict[str, Any]:
    return {"ids": kept.ids, "logits": kept.logits.tolist(), "labels": kept.labels.tolist()}


def lay_out(dataset: Dataset, place: Path, options: argparse.Namespace) -> Fold:
    """The same division as a recipe makes, as plain files."""
    looked = scan(dataset)
    groups, how = near_duplicates(looked.facts), {"folds": options.folds, "fold": options.fold}
    held_out = set(split(looked.dataset, groups, method="folds", seed=options.split_seed, **how).validation)
    ids, labels = {}, {}
    for number, (photo, label) in enumerate(zip(looked.dataset.photos, looked.dataset.labels.tolist(), strict=True)):
        name = f"{'valid' if photo.id in held_out else 'train'}/{label:03}/{number:06}.jpg"
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(read_bytes(photo.where))
        if photo.id in held_out:
            ids[name], labels[name] = photo.id, label
    for part in ("train", "valid"):  # a class without a photo here is still a class
        for label in range(len(dataset.classes)):
            (place / part / f"{label:03}").mkdir(parents=True, exist_ok=True)
    return Fold(place, len(dataset.classes), ids, labels, options)


def load_weights(fold: Fold) -> tuple[dict[str, Any], dict[str, Any]]:
    """Lite0's packaged weights by timm's names, and mean and std as they want them."""
    from carspotter.training.backbones import find_backbone, load_backbone

    net, card = load_backbone(find_backbone(NET), height=fold.size[0], width=fold.size[1])
    return net.state_dict(), {"mean": card.mean, "std": card.std, "crop_pct": card.crop}


def check_filled(missing: Any) -> None:
    """Everything but the new classifier came from the package."""
    lacking = [name for name in missing.missing_keys if not name.startswith("classifier")]
    if lacking or missing.unexpected_keys:
        raise SystemExit(f"weights do not fit: lacking {lacking}, unexpected {missing.unexpected_keys}")


# ---- the peers ------------------------------------------------------------------------------------------------------


def fastai(fold: Fold) -> Callable[[], Answers]:
    import torch
    from fastai.callback.core import set_seed
    from fastai.vision.all import ImageDataLoaders, Normalize, Resize, accuracy, aug_transforms, vision_learner

    def work() -> Answers:
        weights, card = load_weights(fold)
        set_seed(fold.options.seed, reproducible=True)
        batch_tfms = [*aug_transforms(), Normalize.from_stats(card["mean"], card["std"])]
        loaders = ImageDataLoaders.from_folder(
            fold.root,
            train="train",
            valid="valid",
            item_tfms=Resize(fold.size),
            batch_tfms=batch_tfms,
            bs=fold.batch(64),
            num_workers=WORKERS,
        )
        learner = vision_learner(loaders, NET, pretrained=False, metrics=accuracy)
        learner.model[0].model.load_state_dict(weights)
        with learner.no_bar(), learner.no_logging():
            learner.fine_tune(fold.options.epochs)
            chances, _ = learner.get_preds()
        logits = torch.log(chances.clamp_min(1e-12)).numpy()
        return {
            Path(p).relative_to(fold.root).as_posix(): row for p, row in zip(loaders.valid.items, logits, strict=True)
        }

    return work


def timm_pieces(fold: Fold) -> Callable[[], Answers]:
    import timm
    import torch
    from timm.data import ImageDataset, create_loader
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.scheduler import create_scheduler_v2

    def work() -> Answers:
        weights, card = load_weights(fold)
        torch.manual_seed(fold.options.seed)
        net = timm.create_model(NET, num_classes=fold.classes)
        check_filled(net.load_state_dict(weights, strict=False))
        batch, epochs = fold.batch(32), fold.options.epochs
        common = {"input_size": (3, *fold.size), "batch_size": batch, "use_prefetcher": False, "num_workers": WORKERS}
        common |= {"device": torch.device("cpu"), **card}
        valid_set = ImageDataset(str(fold.root / "valid"))
        train = create_loader(
            ImageDataset(str(fold.root / "train")), is_training=True, interpolation="random", **common
        )
        valid = create_loader(valid_set, is_training=False, **common)
        # Defaults of timm's train.py: sgd, lr-base 0.1 per 256 photos, warm-up of 5 epochs from 1e-5, smoothing 0.1.
        optimizer = create_optimizer_v2(net, opt="sgd", lr=0.1 * batch / 256, weight_decay=2e-5, momentum=0.9)
        warmup = {"warmup_epochs": min(5, epochs // 2), "warmup_lr": 1e-5}
        scheduler, _ = create_scheduler_v2(optimizer, sched="cosine", num_epochs=epochs, **warmup)
        criterion = LabelSmoothingCrossEntropy(0.1)

        def answer() -> Floats:
            net.eval()
            with torch.inference_mode():
                return torch.cat([net(photos) for photos, _ in valid]).numpy()

        for epoch in range(epochs):
            net.train()
            for photos, labels in train:
                optimizer.zero_grad()
                criterion(net(photos), labels).backward()
                optimizer.step()
            scheduler.step(epoch + 1)
            logits = answer()  # after every epoch, as train.py does
        names = [f"valid/{name}" for name in valid_set.filenames()]
        return dict(zip(names, logits, strict=True))

    return work


def trainer(fold: Fold) -> Callable[[], Answers]:
    import torch
    from torchvision import transforms as t
    from torchvision.datasets import ImageFolder
    from transformers import TimmWrapperConfig, TimmWrapperForImageClassification, Trainer, TrainingArguments, set_seed

    def gather(rows: list[tuple[torch.Tensor, int]]) -> dict[str, torch.Tensor]:
        return {"pixel_values": torch.stack([photo for photo, _ in rows]), "labels": torch.tensor([y for _, y in rows])}

    def work() -> Answers:
        weights, card = load_weights(fold)
        set_seed(fold.options.seed)
        # The transforms of run_image_classification.py.
        ready = [t.ToTensor(), t.Normalize(card["mean"], card["std"])]
        seen = t.Compose([t.RandomResizedCrop(fold.size), t.RandomHorizontalFlip(), *ready])
        plain = t.Compose([t.Resize(fold.size), t.CenterCrop(fold.size), *ready])
        train = ImageFolder(str(fold.root / "train"), seen, allow_empty=True)
        valid = ImageFolder(str(fold.root / "valid"), plain, allow_empty=True)
        net = TimmWrapperForImageClassification(TimmWrapperConfig(architecture=NET, num_labels=fold.classes))
        check_filled(net.timm_model.load_state_dict(weights, strict=False))
        arguments = TrainingArguments(
            output_dir=str(fold.root / "out"),
            num_train_epochs=fold.options.epochs,
            per_device_train_batch_size=fold.batch(8),
            eval_strategy="epoch",
            save_strategy="no",
            remove_unused_columns=False,
            dataloader_num_workers=WORKERS,
            seed=fold.options.seed,
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        told = Trainer(net, arguments, data_collator=gather, train_dataset=train, eval_dataset=valid)
        told.train()
        logits = told.predict(valid).predictions
        names = [Path(path).relative_to(fold.root).as_posix() for path, _ in valid.samples]
        return dict(zip(names, logits, strict=True))

    return work


PEERS: dict[str, tuple[str, str, Peer]] = {
    "fastai": (
        "fastai",
        "fine_tune: 1 more of the head, one-cycle, rate 2e-3, aug_transforms, batch {batch} (64)",
        fastai,
    ),
    "timm": (
        "timm",
        "train.py's defaults: SGD, cosine, crops, jitter; batch {batch} (32; train.py has 128)",
        timm_pieces,
    ),
    "transformers": ("transformers", "Trainer: AdamW 5e-5, linear, random crops, batch {batch} (8)", trainer),
}


# ---- the table ------------------------------------------------------------------------------------------------------


def report(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    if not rows:
        return print(f"nothing is trained yet on fold {options.fold} of {options.folds}; name a --peer")
    print(f"{options.source}, fold {options.fold} of {options.folds}, {NET}, one seed: a seed alone moves accuracy")
    print(f"{'':24}{'accuracy':38}log loss  minutes  CPU min")
    for row in sorted(rows, key=lambda row: row.get("seconds", 0.0)):
        if "reason" in row:
            print(f"{row['peer']:24}{row['reason']}")
            continue
        kept = HeldOut(tuple(row["ids"]), np.array(row["logits"], np.float32), np.array(row["labels"]))
        found = pool([kept])
        title, minutes = f"{row['peer']} {row['version']}", f"{row['seconds'] / 60:7.1f}  {row['cpu'] / 60:7.1f}"
        print(f"{title:24}{found.accuracy!s:38}{found.log_loss.value:8.3f}  {minutes}  {row['how']}")
    return None


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CarspotterError as fault:
        sys.exit(str(fault))
