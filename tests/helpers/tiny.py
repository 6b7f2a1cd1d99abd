"""A real bundle that takes milliseconds: its net answers with the colour that a photo shows most of."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
from PIL import Image
from safetensors.numpy import save_file

from carspotter.data.disk import hash_file
from carspotter.data.source import read_source
from carspotter.evaluation.explain import HeadRows
from carspotter.inference.bundle import Bundle, write_bundle
from carspotter.inference.predictor import load
from carspotter.inference.reference import REFERENCE, make_reference, write_reference
from carspotter.recipe import Recipe, Stage
from carspotter.records import BackboneCard, BundleCard, Calibration, ExportNote, Geometry, Provenance

COLOURS = ("red", "green", "blue")
HEIGHT, WIDTH = 32, 48
SHARPNESS = 8.0  # logit of a pure colour; the mean of 0..1 channels is multiplied by this


ROWS = HeadRows(SHARPNESS * np.eye(3, dtype=np.float32), np.zeros(3, np.float32))
"""The tiny net's head."""


def tiny_onnx(
    height: int = HEIGHT,
    width: int = WIDTH,
    classes: int = len(COLOURS),
    *,
    photos: int | str = "n",
    dtype: int = TensorProto.UINT8,
    outputs: Sequence[str] = ("logits", "embedding", "features"),
    weight: float = SHARPNESS,
) -> onnx.ModelProto:
    """(N, H, W, 3) uint8 → 4x4 means of red, green, blue → their mean (D = 3) → logits (the first three classes).

    Classes beyond the third are told apart by nothing and get logit 0.
    """
    kernel = np.zeros((3, 3, 4, 4), dtype=np.float32)
    for channel in range(3):
        kernel[channel, channel] = 1 / 16
    linear = np.zeros((classes, 3), dtype=np.float32)
    np.fill_diagonal(linear, weight)
    weights = {"scale": np.float32(255), "kernel": kernel, "linear": linear}
    shapes: dict[str, list[int | str]] = {
        "logits": [photos, classes],
        "embedding": [photos, 3],
        "features": [photos, 3, height // 4, width // 4],
    }
    nodes = [
        make_node("Cast", ["photos"], ["float"], to=TensorProto.FLOAT),
        make_node("Div", ["float", "scale"], ["scaled"]),
        make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        make_node("Conv", ["planes", "kernel"], ["features"], strides=[4, 4]),
        make_node("GlobalAveragePool", ["features"], ["pooled"]),
        make_node("Flatten", ["pooled"], ["embedding"]),
        make_node("Gemm", ["embedding", "linear"], ["logits"], transB=1),
    ]
    graph = make_graph(
        nodes,
        "tiny",
        [make_tensor_value_info("photos", dtype, [photos, height, width, 3])],
        [make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    return make_model(graph, opset_imports=[make_opsetid("", 18)], ir_version=8)


def tiny_finder(height: int = HEIGHT, width: int = WIDTH, channels: int = 1, weight: float = 1.0) -> bytes:
    """A finder of red: its map says, in cells of 4x4, how much redder than green a photo is there."""
    kernel = np.zeros((channels, 3, 4, 4), dtype=np.float32)
    kernel[:, 0], kernel[:, 1] = weight / 16, -weight / 16
    nodes = [
        make_node("Cast", ["photos"], ["float"], to=TensorProto.FLOAT),
        make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        make_node("Conv", ["planes", "kernel"], ["features"], strides=[4, 4]),
        make_node("GlobalAveragePool", ["features"], ["pooled"]),
        make_node("Flatten", ["pooled"], ["embedding"]),
        make_node("Identity", ["embedding"], ["logits"]),
    ]
    shapes: dict[str, list[int | str]] = {
        "logits": ["n", channels],
        "embedding": ["n", channels],
        "features": ["n", channels, height // 4, width // 4],
    }
    graph = make_graph(
        nodes,
        "finder",
        [make_tensor_value_info("photos", TensorProto.UINT8, ["n", height, width, 3])],
        [make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    return make_model(graph, opset_imports=[make_opsetid("", 18)], ir_version=8).SerializeToString()


def tiny_card(
    folder: Path,
    classes: Sequence[str] = COLOURS,
    *,
    height: int = HEIGHT,
    width: int = WIDTH,
    calibration: Calibration | None = None,
) -> BundleCard:
    """A card over the `model.onnx` and `model.safetensors` that lie in a folder."""
    names = ("model.onnx", "model.safetensors")
    return BundleCard(
        name="tiny",
        classes=tuple(classes),
        codes=tuple(str(at) for at in range(len(classes))),
        geometry=Geometry(height=height, width=width, fit="stretch"),
        backbone=BackboneCard(
            name="tiny", source="none", origin="drawn", sha256=None, licence="Apache-2.0", commercial_use="yes"
        ),
        recipe=Recipe(name="tiny", stage=(Stage(name="head", epochs=1, height=height, width=width, lr=0.1),)),
        dataset="0" * 64,
        evaluation=None,
        calibration=calibration,
        files={name: hash_file(folder / name) for name in names},
        carspotter="0.1.0",
        provenance=Provenance(run_id="none", created="2026-01-01T00:00:00Z", seconds=0, machine="none"),
    )


def tiny_files(folder: Path, model: onnx.ModelProto | None = None) -> dict[str, Path]:
    """The two files of a bundle, written to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes((model or tiny_onnx()).SerializeToString())
    save_file({"linear": np.eye(3, dtype=np.float32)}, folder / "model.safetensors")
    return {name: folder / name for name in ("model.onnx", "model.safetensors")}


def write_tiny_bundle(
    folder: Path,
    classes: Sequence[str] = COLOURS,
    *,
    height: int = HEIGHT,
    width: int = WIDTH,
    calibration: Calibration | None = None,
) -> Bundle:
    """A whole bundle at `folder`; its parts are made in a folder beside it that stays."""
    parts = folder.parent / f"{folder.name}-parts"
    files = tiny_files(parts, tiny_onnx(height, width, len(classes)))
    card = tiny_card(parts, classes, height=height, width=width, calibration=calibration)
    return write_bundle(folder, card, files)


def write_remembering_bundle(folder: Path, source: Path | None = None, hidden: int = 0) -> Path:
    """A bundle whose linear head is at hand; with a source, one that remembers its photos. Its folder."""
    files = tiny_files(folder.parent / f"{folder.name}-parts")
    save_file({"head.linear.weight": ROWS.weight, "head.linear.bias": ROWS.bias}, files["model.safetensors"])
    card = tiny_card(files["model.onnx"].parent)
    head = card.recipe.head.model_copy(update={"hidden": hidden})
    card = card.model_copy(update={"recipe": card.recipe.model_copy(update={"head": head})})
    bundle = write_bundle(folder, card, files)
    if source is None:
        return bundle.folder
    dataset = read_source(source)
    labels = np.array([card.classes.index(photo.label or "") for photo in dataset.photos])
    files[REFERENCE] = files["model.onnx"].parent / REFERENCE
    write_reference(files[REFERENCE], make_reference(load(folder).scores(dataset), labels, ROWS))
    card = card.model_copy(update={"files": card.files | {REFERENCE: hash_file(files[REFERENCE])}})
    return write_bundle(folder, card, files).folder


def as_if_in_integers(model: Path) -> None:
    """Its card says that it is an export in integers; the network stays."""
    card = json.loads((model / "card.json").read_text(encoding="utf-8"))
    note = ExportNote(precision="int8", of="0", runtime="onnxruntime", photos=9, accuracy=1, accuracy_before=1)
    card["export"] = note.model_dump(mode="json")
    (model / "card.json").write_text(json.dumps(card), encoding="utf-8")


def colour_photo(red: int, green: int, blue: int, size: tuple[int, int] = (64, 48)) -> bytes:
    """A PNG of one colour; size is (width, height)."""
    return png(np.full((size[1], size[0], 3), (red, green, blue), dtype=np.uint8))


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """(H, W, 3) pixels as the bytes of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
