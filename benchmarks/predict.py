"""`predict`, from a folder of JPEGs to a CSV, beside plain scripts with timm's own pieces and with OpenVINO's.

    python benchmarks/predict.py --rounds 3 --photos 618
    python benchmarks/predict.py --integers models/int8       # what `carspotter export` left, on rows of its own

All have the same net in single precision, but for the rows of integers. Sides alternate in one run, each in a fresh
process, all with two threads. A side's clock runs from the first photo's bytes to the closed CSV; imports and opening
the model are given apart. CPU time per photo (all threads and workers) is the figure that other work on the machine
disturbs least. The limit is what decoding alone and the net alone allow together on the same cores:
1 / (1 / decode + 1 / net) photos per second.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from carspotter.inference.runtime import RuntimeName

THREADS = 2
NET, CLASSES, HEIGHT, WIDTH = "tf_efficientnet_lite0", 10, 240, 320
BATCH = 32  # of the plain script; timm's own validate.py defaults to 256, which is slower here
PROCESSES = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
CONTEST = Path(__file__).resolve().parents[2] / "shared" / "data" / "contest" / "test.zip"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=int, default=618)
    parser.add_argument("--integers", type=Path, help="an int8 model folder of the same size")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        origin = fill(folder / "photos", options.photos)
        # In a process of its own: a child starts with the memory peak of its parent.
        subprocess.run([sys.executable, __file__, "--bundle", str(folder / "model")], check=True)
        sides = [name for name in SIDES if options.integers or INTEGERS not in name]
        if options.integers:
            (folder / INTEGERS).symlink_to(options.integers.resolve())
        print(f"{options.photos} photos ({origin}), {NET} {WIDTH}x{HEIGHT}, {THREADS} threads, photos/s")
        found: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
        for _ in range(options.rounds):
            for name in sides:
                found[name].append(run(name, folder))
        report(found)


def report(found: dict[str, list[dict[str, float]]]) -> None:
    rates = {name: [one["rate"] for one in runs] for name, runs in found.items()}
    print(f"{'':28}{'min':>8}{'median':>8}{'max':>8}{'CPU ms':>8}{'start s':>9}{'peak MB':>9}")
    for name, values in rates.items():
        start, peak, cpu = (statistics.median(one[key] for one in found[name]) for key in ("start", "peak", "cpu"))
        row = (min(values), statistics.median(values), max(values), 1000 * cpu)
        print(f"{name:28}" + "".join(f"{value:8.1f}" for value in row) + f"{start:9.2f}{peak / 1e6:9.0f}")
    middle = {name: statistics.median(values) for name, values in rates.items()}
    limit = 1 / (1 / middle["decode alone"] + 1 / middle["net alone"])
    for ours in (name for name in middle if name.startswith("predict")):
        beside = ", ".join(f"{name} {middle[ours] / middle[name]:.2f}" for name in OTHERS)
        print(f"{ours}, times the photos/s of: {beside}")
    print(f"limit {limit:.1f} photos/s; predict reaches {middle['predict'] / limit:.0%} of it")
    cpu = {name: statistics.median(one["cpu"] for one in runs) for name, runs in found.items()}
    share = (cpu["decode alone"] + cpu["net alone"]) / cpu["predict"]
    print(f"by CPU time, decoding and the net are {share:.0%} of what predict uses")


def run(name: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--side", name, str(folder)]
    limits = {key: str(THREADS) for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ | limits)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


# ---- the sides ------------------------------------------------------------------------------------------------------


def predict(folder: Path, model: str = "model", runtime: RuntimeName = "onnxruntime") -> Callable[[], int]:
    from carspotter.data.source import list_photos
    from carspotter.data.table import write_table
    from carspotter.evaluation.answer import answer, answer_rows
    from carspotter.inference.predictor import load

    predictor = load(folder / model, threads=THREADS, runtime=runtime)

    def work() -> int:
        dataset = list_photos([folder / "photos"])
        scores = predictor.scores(dataset)
        answers = answer(scores, predictor.card.classes, None, [photo.id for photo in dataset.photos])
        write_table(folder / "ours.csv", *answer_rows(answers))
        return len(scores.ids)

    return work


def timm_script(folder: Path, *, channels_last: bool = False) -> Callable[[], int]:
    import torch
    from PIL import Image
    from timm import create_model
    from timm.data import create_transform, resolve_data_config
    from torch.utils.data import DataLoader, Dataset

    torch.set_num_threads(THREADS)
    model = create_model(NET, num_classes=CLASSES).eval()
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    transform = create_transform(**resolve_data_config({"input_size": (3, HEIGHT, WIDTH)}, model=model))
    paths = sorted((folder / "photos").iterdir())

    class Photos(Dataset[object]):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, at: int) -> object:
            return transform(Image.open(paths[at]).convert("RGB"))

    def work() -> int:
        rows = []
        with torch.inference_mode():
            for photos in DataLoader(Photos(), batch_size=BATCH, num_workers=THREADS):
                batch = photos.to(memory_format=torch.channels_last) if channels_last else photos
                top = model(batch).softmax(1).topk(3)
                rows += list(zip(top.indices.tolist(), top.values.tolist(), strict=True))
        with (folder / "theirs.csv").open("w", newline="") as file:
            csv.writer(file).writerows((path.name, *at, *p) for path, (at, p) in zip(paths, rows, strict=True))
        return len(rows)

    return work


def openvino_script(folder: Path) -> Callable[[], int]:
    """As its guides have it: requests in flight, Pillow in threads, photos padded to the net's size."""
    import numpy as np
    import openvino as ov
    from PIL import Image, ImageOps

    hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": THREADS}
    net = ov.Core().compile_model(folder / "model" / "model.onnx", "CPU", hints)
    paths = sorted((folder / "photos").iterdir())

    def pixels(path: Path) -> np.ndarray:
        with Image.open(path) as photo:
            photo.draft("RGB", (WIDTH, HEIGHT))
            return np.asarray(ImageOps.pad(photo.convert("RGB"), (WIDTH, HEIGHT)))[None]

    def work() -> int:
        rows: dict[str, np.ndarray] = {}
        queue = ov.AsyncInferQueue(net)
        queue.set_callback(lambda request, name: rows.update({name: request.get_tensor("logits").data[0].copy()}))
        with ThreadPoolExecutor(THREADS) as pool:
            for path, photo in zip(paths, pool.map(pixels, paths), strict=True):
                queue.start_async([photo], path.name)
        queue.wait_all()
        with (folder / "theirs.csv").open("w", newline="") as file:
            csv.writer(file).writerows((name, *np.argsort(-row)[:3], *row.tolist()) for name, row in rows.items())
        return len(rows)

    return work


def decode_alone(folder: Path) -> Callable[[], int]:
    from carspotter.data.cache import PhotoCache
    from carspotter.data.source import list_photos
    from carspotter.inference.bundle import read_bundle

    cache, geometry = PhotoCache(None), read_bundle(folder / "model").card.geometry

    def work() -> int:
        photos = list_photos([folder / "photos"]).photos
        with ThreadPoolExecutor(THREADS) as pool:
            return len(list(pool.map(lambda photo: cache.pixels(photo, geometry), photos)))

    return work


def net_alone(folder: Path) -> Callable[[], int]:
    import numpy as np

    from carspotter.inference.runtime import open_runtime

    runtime = open_runtime(folder / "model" / "model.onnx", threads=1)
    count = len(list((folder / "photos").iterdir()))
    photos = np.random.default_rng(0).integers(0, 256, (THREADS * 4, 1, HEIGHT, WIDTH, 3), dtype=np.uint8)

    def work() -> int:
        with ThreadPoolExecutor(THREADS) as pool:
            return len(list(pool.map(runtime.run, islice(cycle(photos), count))))

    return work


def timm_channels_last(folder: Path) -> Callable[[], int]:
    return timm_script(folder, channels_last=True)


INTEGERS = "int8"
SIDES: dict[str, Callable[[Path], Callable[[], int]]] = {
    "predict": predict,
    "predict, OpenVINO": partial(predict, runtime="openvino"),
    f"predict {INTEGERS}": partial(predict, model=INTEGERS),
    f"predict {INTEGERS}, OpenVINO": partial(predict, model=INTEGERS, runtime="openvino"),
    "timm": timm_script,
    "timm, channels last": timm_channels_last,
    "OpenVINO": openvino_script,
    "decode alone": decode_alone,
    "net alone": net_alone,
}
OTHERS = ("timm", "timm, channels last", "OpenVINO")


def side(name: str, folder: Path) -> None:
    """One measurement; prints its figures as JSON."""
    begun = time.perf_counter()
    work = SIDES[name](folder)
    opened, worked = time.perf_counter(), cpu_seconds()
    photos = work()
    rate = photos / (time.perf_counter() - opened)
    cpu = (cpu_seconds() - worked) / photos
    peak = sum(resource.getrusage(who).ru_maxrss * 1024 for who in PROCESSES)
    print(json.dumps({"rate": rate, "start": opened - begun, "peak": peak, "cpu": cpu}))


def cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in PROCESSES]
    return sum(one.ru_utime + one.ru_stime for one in used)


# ---- what they work on ----------------------------------------------------------------------------------------------


def fill(folder: Path, photos: int) -> str:
    """JPEGs to predict: the contest's test photos, repeated as needed, or else drawn ones."""
    folder.mkdir()
    pictures, origin = (real_photos(), "the contest's") if CONTEST.is_file() else (drawn_photos(folder.parent), "drawn")
    for at, data in enumerate(islice(cycle(pictures), photos)):
        (folder / f"{at:05}.jpg").write_bytes(data)
    return origin


def real_photos() -> list[bytes]:
    with zipfile.ZipFile(CONTEST) as archive:
        return [archive.read(name) for name in archive.namelist() if name.endswith(".jpg")]


def drawn_photos(scratch: Path) -> list[bytes]:
    from carspotter.data.photo import read_bytes
    from carspotter.data.source import read_source
    from carspotter.data.synthetic import draw_lot

    draw_lot(scratch / "lot", train=100, test=10, height=HEIGHT, width=WIDTH, seed=0, faults=False)
    return [read_bytes(photo.where) for photo in read_source(scratch / "lot").photos]


def make_bundle(folder: Path) -> None:
    """A bundle of the net with random weights: as fast as a trained one."""
    import timm

    from carspotter.data.disk import hash_file
    from carspotter.inference.bundle import write_bundle
    from carspotter.recipe import Recipe, Stage
    from carspotter.records import BundleCard, Geometry, Provenance
    from carspotter.training.backbones import find_backbone
    from carspotter.training.classifier import Body, Classifier, Head
    from carspotter.training.export import export_onnx, save_weights

    card = find_backbone(NET, "random")
    backbone = timm.create_model(NET, num_classes=0)
    classifier = Classifier(Body(backbone, "avg"), Head(backbone.num_features, CLASSES), mean=card.mean, std=card.std)
    geometry = Geometry(height=HEIGHT, width=WIDTH, fit="pad")
    parts = folder.with_name("parts")
    parts.mkdir()
    files = {name: parts / name for name in ("model.onnx", "model.safetensors")}
    export_onnx(classifier.eval(), geometry, files["model.onnx"])
    save_weights(classifier, files["model.safetensors"])
    names = tuple(f"class {at}" for at in range(CLASSES))
    stage = Stage(name="none", epochs=1, height=HEIGHT, width=WIDTH, lr=0.1)
    card = BundleCard(
        name="benchmark",
        classes=names,
        codes=names,
        geometry=geometry,
        backbone=card,
        recipe=Recipe(name="benchmark", backbone=NET, stage=(stage,)),
        dataset="none",
        evaluation=None,
        files={name: hash_file(path) for name, path in files.items()},
        carspotter="benchmark",
        provenance=Provenance(run_id="none", created="", seconds=0, machine=""),
    )
    write_bundle(folder, card, files)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        side(sys.argv[2], Path(sys.argv[3]))
    elif sys.argv[1:2] == ["--bundle"]:
        make_bundle(Path(sys.argv[2]))
    else:
        main()
