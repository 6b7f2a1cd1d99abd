from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto
from onnx.helper import make_function, make_graph, make_node, make_opsetid, make_tensor, make_tensor_value_info

from carspotter.errors import BundleError
from carspotter.inference.onnx_scan import refuse_external_data
from helpers.tiny import tiny_onnx


def elsewhere(name: str = "away") -> TensorProto:
    """Three floats that lie in `weights.bin`."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor


def branch(tensor: TensorProto) -> onnx.GraphProto:
    nodes = [make_node("Constant", [], ["c"], value=tensor)]
    return make_graph(nodes, "branch", [], [make_tensor_value_info("c", TensorProto.FLOAT, [3])])


def in_initializer(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(elsewhere())


def in_constant(model: onnx.ModelProto) -> None:
    model.graph.node.append(make_node("Constant", [], ["c"], value=elsewhere()))


def in_list_of_tensors(model: onnx.ModelProto) -> None:
    node = make_node("Constant", [], ["c"])
    node.attribute.append(onnx.AttributeProto(name="x", type=onnx.AttributeProto.TENSORS, tensors=[elsewhere()]))
    model.graph.node.append(node)


def in_branch(model: onnx.ModelProto) -> None:
    model.graph.node.append(
        make_node("If", ["b"], ["c"], then_branch=branch(elsewhere()), else_branch=branch(elsewhere()))
    )


def in_sparse(model: onnx.ModelProto) -> None:
    indices = make_tensor("i", TensorProto.INT64, [3], [0, 1, 2])
    model.graph.sparse_initializer.append(onnx.SparseTensorProto(values=elsewhere(), indices=indices, dims=[5]))


def in_function(model: onnx.ModelProto) -> None:
    nodes = [make_node("Constant", [], ["c"], value=elsewhere())]
    model.functions.append(make_function("own", "f", [], ["c"], nodes, [make_opsetid("", 18)]))


def in_training_graph(model: onnx.ModelProto) -> None:
    model.training_info.add().initialization.initializer.append(elsewhere())


PLACES = [in_initializer, in_constant, in_list_of_tensors, in_branch, in_sparse, in_function, in_training_graph]


@pytest.mark.parametrize("place", PLACES)
def test_a_tensor_in_another_file_is_found_wherever_it_hides(place: object) -> None:
    model = tiny_onnx()
    refuse_external_data(model.SerializeToString(), "model.onnx")
    place(model)
    with pytest.raises(BundleError, match=r"model\.onnx reads tensors from another file"):
        refuse_external_data(model.SerializeToString(), "model.onnx")


def test_either_mark_of_external_data_is_enough() -> None:
    for field in ("data_location", "external_data"):
        tensor, model = elsewhere(), tiny_onnx()
        tensor.ClearField(field)
        model.graph.initializer.append(tensor)
        with pytest.raises(BundleError, match="external data"):
            refuse_external_data(model.SerializeToString(), "model.onnx")


def test_without_the_scan_a_model_from_bytes_would_read_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why the scan exists; should ONNX Runtime ever stop doing so, the scan is still right."""
    tensor = elsewhere()
    tensor.dims[:] = [3, 4]  # with fewer numbers an optimiser of the library stumbles first
    graph = make_graph(
        [make_node("MatMul", ["x", "away"], ["y"])],
        "g",
        [make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [tensor],
    )
    model = onnx.helper.make_model(graph, opset_imports=[make_opsetid("", 18)], ir_version=8)
    np.arange(12, dtype=np.float32).tofile(tmp_path / "weights.bin")
    monkeypatch.chdir(tmp_path)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.ones((1, 3), np.float32)})[0].tolist() == [[12, 15, 18, 21]]
    with pytest.raises(BundleError, match="external data"):
        refuse_external_data(model.SerializeToString(), "model.onnx")


def test_every_truncation_is_refused_or_harmless() -> None:
    """Cut between two fields it is still protobuf; cut within one it is not. Nothing else may escape."""
    data = tiny_onnx().SerializeToString()
    complaints = [complaint for end in range(len(data)) if (complaint := complaint_about(data[:end]))]
    assert all("is no ONNX model (it ends within" in complaint for complaint in complaints)
    assert len(complaints) > len(data) * 0.9


def test_garbage_ends_as_one_clear_error() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(tiny_onnx().SerializeToString())
        for at in rng.integers(0, len(data), 5):
            data[at] = rng.integers(0, 256)
        assert "\n" not in complaint_about(bytes(data))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x0b\x0b", "wire type 3"),
        (b"\x3a\xff\xff\xff\x7f", "ends within a field"),
        (b"\x3a" + b"\xff" * 11, "a number longer than 10 bytes"),
        (b"\x3a", "ends within a number"),
        (b"\x08\x08\x12\x07ORTMxxxx"[:4] + b"ORTM", "ONNX Runtime's own format"),
    ],
)
def test_what_is_no_protobuf_is_named(data: bytes, why: str) -> None:
    with pytest.raises(BundleError, match=why):
        refuse_external_data(data, "model.onnx")


def test_endless_nesting_is_refused() -> None:
    """An attribute that holds a graph that holds a node … by hand: the library itself refuses to build it."""
    inner = b""
    for _ in range(200):
        inner = field(1, field(5, field(6, inner)))
    with pytest.raises(BundleError, match="nested deeper than 64"):
        refuse_external_data(field(7, inner), "model.onnx")


def complaint_about(data: bytes) -> str:
    """What the scan says; empty when it passes. Nothing but a `BundleError` may come."""
    try:
        refuse_external_data(data, "model.onnx")
    except BundleError as fault:
        return str(fault)
    return ""


def field(number: int, payload: bytes) -> bytes:
    size, head = len(payload), bytearray([number << 3 | 2])
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes(head) + bytes([size]) + payload
