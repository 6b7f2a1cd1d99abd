from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto
from onnx.helper import make_node, make_opsetid

from carspotter.errors import BundleError
from carspotter.inference.runtime import Runtime, open_runtime
from helpers.tiny import HEIGHT, WIDTH, tiny_onnx


def opened(model: ModelProto | None = None) -> Runtime:
    return open_runtime((model or tiny_onnx()).SerializeToString(), threads=1)


def photos(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, HEIGHT, WIDTH, 3), dtype=np.uint8)


def test_sizes_that_the_file_does_not_declare_are_found_by_trying() -> None:
    model = tiny_onnx()
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[1].dim_param = "unknown"
    assert (opened(model).classes, opened(model).dimensions) == (3, 3)


def test_outputs_are_what_the_net_computes() -> None:
    batch = photos(3)
    found = opened().run(batch, feature_map=True)
    means = batch.mean(axis=(1, 2)) / 255
    np.testing.assert_allclose(found.embeddings, means, atol=1e-5)
    np.testing.assert_allclose(found.logits, 8 * means, atol=1e-4)
    assert found.feature_map is not None
    np.testing.assert_allclose(found.feature_map.mean(axis=(2, 3)), means, atol=1e-5)
    assert {a.dtype for a in (found.logits, found.embeddings, found.feature_map)} == {np.dtype(np.float32)}


def test_the_feature_map_is_copied_only_when_asked_for() -> None:
    assert opened().run(photos(1)).feature_map is None


def test_sizes_are_told_and_a_file_opens_like_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_onnx(40, 64, 5).SerializeToString())
    found = open_runtime(path)
    assert (found.height, found.width, found.classes, found.dimensions) == (40, 64, 5, 3)
    with pytest.raises(BundleError, match="cannot read"):
        open_runtime(tmp_path / "absent.onnx")


def test_no_photos_give_empty_outputs() -> None:
    found = opened().run(photos(0))
    assert (found.logits.shape, found.embeddings.shape) == ((0, 3), (0, 3))


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (tiny_onnx(outputs=("logits", "embedding")), r"no output features \(it has logits, embedding\)"),
        (tiny_onnx(outputs=("embedding",)), "no output logits, features"),
        (tiny_onnx(photos=1), "takes exactly 1 photos at once"),
        (tiny_onnx(dtype=TensorProto.FLOAT), r"tensor\(float\).*; expected one uint8 input"),
    ],
)
def test_a_net_of_another_shape_is_refused(model: ModelProto, why: str) -> None:
    with pytest.raises(BundleError, match=why):
        opened(model)


def test_a_free_photo_size_is_refused() -> None:
    model = tiny_onnx()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "h"
    with pytest.raises(BundleError, match="expected one uint8 input"):
        opened(model)


def test_a_photo_size_that_would_fill_the_memory_is_refused_before_the_trial() -> None:
    with pytest.raises(BundleError, match=r"100000.* at most 2048 pixels a side"):
        opened(tiny_onnx(100_000, 100_000))


def test_outputs_that_are_no_float32_are_refused() -> None:
    model = tiny_onnx()
    model.graph.node[6].output[0] = "wide"
    model.graph.node.append(make_node("Cast", ["wide"], ["logits"], to=TensorProto.DOUBLE))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    with pytest.raises(BundleError, match=r"gives logits as tensor\(double\); expected tensor\(float\)"):
        opened(model)


def test_an_embedding_of_unknown_length_or_rank_is_refused() -> None:
    model = tiny_onnx()
    model.graph.node[5].CopyFrom(make_node("Reshape", ["pooled", "to"], ["embedding"]))
    model.graph.initializer.add(name="to", data_type=TensorProto.INT64, dims=[3], int64_data=[-1, 3, 1])
    model.graph.output[1].type.tensor_type.shape.dim.add().dim_value = 1
    model.graph.node[6].CopyFrom(make_node("ReduceSum", ["embedding", "axis"], ["logits"], keepdims=0))
    model.graph.initializer.add(name="axis", data_type=TensorProto.INT64, dims=[1], int64_data=[2])
    with pytest.raises(BundleError, match=r"gives embedding of shape \(1, 3, 1\) for one photo; expected 2 dim"):
        opened(model)


def test_an_operator_of_a_library_that_nobody_loads_is_refused() -> None:
    model = tiny_onnx()
    model.opset_import.append(make_opsetid("com.evil", 1))
    model.graph.node[6].CopyFrom(make_node("Own", ["embedding"], ["logits"], domain="com.evil"))
    with pytest.raises(BundleError, match=r"cannot load model\.onnx: .*com\.evil") as caught:
        opened(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\x80\x04K\x01.", b"hello" * 99, tiny_onnx().SerializeToString()[:-40]])
def test_what_is_no_model_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"model\.onnx") as caught:
        open_runtime(data)
    assert "\n" not in str(caught.value)


def test_a_tensor_in_another_file_is_refused_before_the_library_sees_it() -> None:
    model = tiny_onnx()
    model.graph.initializer[2].data_location = TensorProto.EXTERNAL
    with pytest.raises(BundleError, match="external data"):
        opened(model)


@pytest.mark.parametrize("weight", [np.nan, np.inf])
def test_answers_that_are_no_numbers_are_an_error_not_an_answer(weight: float) -> None:
    with pytest.raises(BundleError, match="answers with not-a-number"):
        opened(tiny_onnx(weight=weight)).run(photos(1))


def test_a_fault_of_the_library_while_running_is_a_clear_error() -> None:
    with pytest.raises(BundleError, match=r"model\.onnx failed on 1 photos: .*dimensions"):
        opened().run(photos(1)[:, :16])


def test_a_photo_has_the_same_bits_alone_and_in_company() -> None:
    net, batch = opened(), photos(17)
    alone = np.concatenate([net.run(batch[i : i + 1]).logits for i in range(17)])
    np.testing.assert_array_equal(net.run(batch).logits, alone)


def test_openvino_gives_the_same() -> None:
    """In single precision, with one request for each thread."""
    data = tiny_onnx().SerializeToString()
    usual, other = open_runtime(data), open_runtime(data, kind="openvino")
    assert (other.height, other.width, other.classes, other.dimensions) == (
        usual.height,
        usual.width,
        usual.classes,
        usual.dimensions,
    )
    photos = np.random.default_rng(0).integers(0, 256, (8, 1, usual.height, usual.width, 3), dtype=np.uint8)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda photo: other.run(photo, feature_map=True), photos))
    for photo, one in zip(photos, found, strict=True):
        expected = usual.run(photo, feature_map=True)
        np.testing.assert_allclose(one.logits, expected.logits, atol=1e-4)
        np.testing.assert_allclose(one.embeddings, expected.embeddings, atol=1e-5)
        np.testing.assert_allclose(one.feature_map, expected.feature_map, atol=1e-5)
    assert usual.run(photos[0]).feature_map is None
    assert other.run(photos[0]).feature_map is None


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (tiny_onnx(photos=1), "takes exactly 1 photos at once"),
        (tiny_onnx(dtype=TensorProto.FLOAT), "expected one uint8 input"),
        (tiny_onnx(outputs=("logits",)), "has no output embedding, features"),
        (tiny_onnx(weight=float("nan")), "answers with not-a-number"),
    ],
)
def test_openvino_refuses_the_same(model: ModelProto, why: str) -> None:
    with pytest.raises(BundleError, match=why):
        open_runtime(model.SerializeToString(), kind="openvino")


SIGNALLED = """
import gc, os, signal, sys
from pathlib import Path
from carspotter.inference.runtime import open_runtime
signal.signal(signal.SIGTERM, lambda *_: print("heard"))
first = open_runtime(Path(sys.argv[1]), kind="openvino")
second = open_runtime(Path(sys.argv[1]), kind="openvino")
for name in sys.argv[2:]:
    del globals()[name]
    gc.collect()
    os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
def test_a_signal_is_heard_after_openvino_nets_are_gone(tmp_path: Path, order: tuple[str, str]) -> None:
    """A model that is replaced goes before the one that came later."""
    (tmp_path / "model.onnx").write_bytes(tiny_onnx().SerializeToString())
    words = [sys.executable, "-c", SIGNALLED, str(tmp_path / "model.onnx"), *order]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "heard\nheard\n")


def test_openvino_on_what_is_no_network() -> None:
    with pytest.raises(BundleError, match=r"OpenVINO cannot load model\.onnx|no ONNX"):
        open_runtime(b"no network", kind="openvino")
