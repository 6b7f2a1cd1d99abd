"""The network behind a small seam; the only module that knows ONNX Runtime and OpenVINO.

A session runs on one thread. Callers that have more cores run several photos at once, each on its own thread: measured
with EfficientNet-Lite0 at 320x240 on two cores, two threads with one photo each reach 68-82 images/s, one session with
two threads 36-58 in batches of 16 and 32-56 with single photos, with or without spinning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import local
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as faults

from carspotter.data.wording import cause, one_line
from carspotter.errors import BundleError, MissingExtra
from carspotter.inference.onnx_scan import refuse_external_data
from carspotter.records import Logits
from carspotter.workers import usable_cores

LOGITS, EMBEDDING, FEATURES = "logits", "embedding", "features"
"""Names of the outputs of a bundle's graph."""

# onnxruntime's exceptions have no common base of their own.
_FAULTS = (
    faults.EPFail,
    faults.Fail,
    faults.InvalidArgument,
    faults.InvalidGraph,
    faults.InvalidProtobuf,
    faults.NoModel,
    faults.NoSuchFile,
    faults.NotImplemented,
    faults.RuntimeException,
)
_LARGEST = 2048  # pixels of a side, as `Geometry` allows
_QUIET = 4  # onnxruntime's log severity `fatal`: its errors reach us as exceptions, once is enough


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """What the network gives for N photos.

    Attributes:
        logits: (N, K) f32, finite; higher is likelier.
        embeddings: (N, D) f32; the input of the last linear layer.
        feature_map: (N, C, h, w) f32 before pooling, (N, tokens, C) of a net without a map; None unless asked for.
    """

    logits: Logits
    embeddings: npt.NDArray[np.float32]
    feature_map: npt.NDArray[np.float32] | None = None


class Runtime(Protocol):
    """A network that is ready to run; safe to call from several threads at once.

    Attributes:
        height: rows of a photo, pixels.
        width: columns of a photo, pixels.
        classes: K, the number of logits.
        dimensions: D, the length of an embedding.
        bf16: whether it computes in half precision.
    """

    height: int
    width: int
    classes: int
    dimensions: int
    bf16: bool

    def run(self, photos: npt.NDArray[np.uint8], *, feature_map: bool = False) -> Outputs:
        """Run N photos.

        Args:
            photos: (N, height, width, 3) sRGB uint8.
            feature_map: also copy out the feature map.
        """
        ...


RuntimeName = Literal["onnxruntime", "openvino"]
"""Who computes. OpenVINO (`carspotter[openvino]`) reads the same file, in single precision too."""


def runtime_version(kind: RuntimeName) -> str:
    """Of who computes: another one may give other bits.

    Raises:
        MissingExtra: OpenVINO is not installed.
    """
    return str(_openvino().__version__ if kind == "openvino" else ort.__version__)


def open_runtime(
    model: Path | bytes,
    *,
    threads: int = 0,
    name: str = "model.onnx",
    kind: RuntimeName = "onnxruntime",
    bf16: bool = False,
) -> Runtime:
    """Open a bundle's `model.onnx` on the CPU and try it on one grey photo.

    Args:
        model: the file, or its bytes as they were verified.
        threads: CPU threads of one run; 0 takes all cores.
        name: of bytes, for messages.
        kind: who computes.
        bf16: compute in half precision where runtime and processor can; `Runtime.bf16` tells whether they do.

    Raises:
        MissingExtra: OpenVINO is not installed.
        BundleError: unreadable, no ONNX, tensors outside the file, unknown operators, or another shape than uint8
            (N, H, W, 3) in; `logits` (N, K), `embedding` (N, D), `features` (N, C, h, w) or (N, tokens, C) out.
    """
    data, name = _read(model) if isinstance(model, Path) else (model, name)
    refuse_external_data(data, name)
    if kind == "openvino":
        return _OpenVinoRuntime(data, name, threads, bf16)
    try:
        session = ort.InferenceSession(data, _options(threads), providers=["CPUExecutionProvider"])
    except _FAULTS as fault:
        raise BundleError(
            f"ONNX Runtime {ort.__version__} cannot load {name}: {one_line(fault)}; copy the model folder again, "
            "or train again with this version"
        ) from None
    return _OrtRuntime(session, name)


def _read(path: Path) -> tuple[bytes, str]:
    try:
        return path.read_bytes(), path.name
    except OSError as fault:
        raise BundleError(f"cannot read {path}: {cause(fault)}; check the path") from None


def _openvino() -> Any:
    try:
        import openvino
    except ImportError:
        raise MissingExtra("the runtime openvino", "openvino") from None
    return openvino


@cache
def _core() -> Any:
    """OpenVINO's one core, kept to the process's end.

    Its CPU plugin lends the thread that loads it a stack for signals and takes it back when it goes. Of two that do not
    go in the reverse order of their coming, the later one hands back the earlier one's, which is gone; the next signal,
    even Ctrl-C, then ends the process with a segmentation fault (seen with 2026.4.1; docs/log.md, 2026-11-27).
    """
    return _openvino().Core()


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _QUIET
    # A spinning pool steals the cores that decode the next photos.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


class _OrtRuntime:
    """A CPU session of ONNX Runtime; `run` releases the interpreter lock and is safe from several threads."""

    bf16 = False  # its processor kernels have none

    def __init__(self, session: ort.InferenceSession, name: str) -> None:
        self._session = session
        self._name = name
        first = _Input.of([(i.name, i.type, i.shape) for i in session.get_inputs()], name)
        self._input, self.height, self.width = first.name, first.height, first.width
        _must_have_outputs({o.name: o.type for o in session.get_outputs()}, name)
        # Declared output shapes are often symbolic, and only claims: one grey photo tells the real ones.
        trial = self.run(np.full((1, self.height, self.width, 3), 128, dtype=np.uint8), feature_map=True)
        self.classes, self.dimensions = _tried(trial, name)

    def run(self, photos: npt.NDArray[np.uint8], *, feature_map: bool = False) -> Outputs:
        names = [LOGITS, EMBEDDING, FEATURES] if feature_map else [LOGITS, EMBEDDING]
        try:
            found: Sequence[npt.NDArray[np.float32]] = self._session.run(names, {self._input: photos})
        except _FAULTS as fault:
            raise BundleError(f"{self._name} failed on {photos.shape[0]} photos: {one_line(fault)}") from None
        logits, embeddings, *rest = found
        return _finite(Outputs(logits, embeddings, rest[0] if rest else None), self._name)


class _OpenVinoRuntime:
    """The same on OpenVINO: a request of its own for each thread, one core each, one photo after another."""

    def __init__(self, data: bytes, name: str, threads: int, bf16: bool) -> None:
        openvino, core, streams = _openvino(), _core(), threads if threads > 1 else usable_cores()
        try:
            model = core.read_model(data)
        except RuntimeError as fault:
            raise BundleError(f"OpenVINO cannot load {name}: {one_line(fault)}; use --runtime onnxruntime") from None
        self._name = name
        kinds = {"u8": "tensor(uint8)", "f32": "tensor(float)"}
        first = _Input.of([(*_named(port, kinds), _sizes(port.partial_shape)) for port in model.inputs], name)
        self.height, self.width = first.height, first.width
        _must_have_outputs(dict(_named(port, kinds) for port in model.outputs), name)
        # Without the hint it computes in bf16 where the processor can, and logits move by a quarter.
        hint = "bf16" if bf16 else "f32"
        config = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": streams, "NUM_STREAMS": streams}
        try:
            model.reshape([1, self.height, self.width, 3])  # sizes that are known make better plans
            self._compiled: Any = core.compile_model(model, "CPU", config)
            self.bf16 = self._compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.bf16
        except RuntimeError as fault:
            raise BundleError(f"OpenVINO cannot run {name}: {one_line(fault)}; use --runtime onnxruntime") from None
        self._mine = local()
        trial = self.run(np.full((1, self.height, self.width, 3), 128, dtype=np.uint8), feature_map=True)
        self.classes, self.dimensions = _tried(trial, name)

    def run(self, photos: npt.NDArray[np.uint8], *, feature_map: bool = False) -> Outputs:
        if not hasattr(self._mine, "request"):
            self._mine.request = self._compiled.create_infer_request()
        names = [LOGITS, EMBEDDING, *([FEATURES] if feature_map else [])]
        found: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in names}
        try:
            for photo in photos:
                said = self._mine.request.infer([np.ascontiguousarray(photo[None])])
                for name in names:
                    found[name].append(np.array(said[name]))  # a copy: the request's memory is used again
        except RuntimeError as fault:
            raise BundleError(f"{self._name} failed on {photos.shape[0]} photos: {one_line(fault)}") from None
        whole = {name: np.concatenate(parts) for name, parts in found.items()}
        return _finite(Outputs(whole[LOGITS], whole[EMBEDDING], whole.get(FEATURES)), self._name)


def _named(port: Any, kinds: Mapping[str, str]) -> tuple[str, str]:
    """The name and type of an OpenVINO port, as ONNX Runtime writes them."""
    kind = port.element_type.type_name
    return port.any_name, kinds.get(kind, f"tensor({kind})")


@dataclass(frozen=True, slots=True)
class _Input:
    """What a network takes."""

    name: str
    height: int
    width: int

    @classmethod
    def of(cls, inputs: Sequence[tuple[str, str, Sequence[int | str | None]]], name: str) -> _Input:
        """The one input of a bundle's network.

        Raises:
            BundleError: it takes something else than any number of photos of one size.
        """
        first = inputs[0] if len(inputs) == 1 else None
        shape = list(first[2]) if first is not None and first[1] == "tensor(uint8)" else []
        height, width = (shape[1], shape[2]) if len(shape) == 4 and shape[3] == 3 else (None, None)
        sized = [n for n in (height, width) if isinstance(n, int) and 1 <= n <= _LARGEST]
        if first is None or len(sized) < 2:
            found = ", ".join(f"{what}: {kind} {sizes}" for what, kind, sizes in inputs)
            raise BundleError(
                f"{name} takes {found or 'nothing'}; expected one uint8 input (N, height, width, 3), "
                f"at most {_LARGEST} pixels a side"
            )
        if isinstance(shape[0], int):
            raise BundleError(f"{name} takes exactly {shape[0]} photos at once; expected any number: export it again")
        return cls(first[0], *sized)


def _sizes(shape: Any) -> list[int | None]:
    return [side.get_length() if side.is_static else None for side in shape]


def _must_have_outputs(outputs: Mapping[str, str], name: str) -> None:
    missing = [wanted for wanted in (LOGITS, EMBEDDING, FEATURES) if wanted not in outputs]
    if missing:
        raise BundleError(f"{name} has no output {', '.join(missing)} (it has {', '.join(outputs)}); train again")
    for output, kind in outputs.items():
        if output in (LOGITS, EMBEDDING, FEATURES) and kind != "tensor(float)":
            raise BundleError(f"{name} gives {output} as {kind}; expected tensor(float)")


def _tried(trial: Outputs, name: str) -> tuple[int, int]:
    """Classes and dimensions, as one photo shows them."""
    classes = _columns(LOGITS, trial.logits, (2,), name)
    dimensions = _columns(EMBEDDING, trial.embeddings, (2,), name)
    _columns(FEATURES, trial.feature_map, (3, 4), name)
    return classes, dimensions


def _finite(found: Outputs, name: str) -> Outputs:
    if not (np.isfinite(found.logits).all() and np.isfinite(found.embeddings).all()):
        raise BundleError(f"{name} answers with not-a-number: its weights are unusable; train again")
    return found


def _columns(what: str, output: npt.NDArray[np.float32] | None, ranks: tuple[int, ...], name: str) -> int:
    """The length of a one-photo output of one of these ranks."""
    if not isinstance(output, np.ndarray) or output.dtype != np.float32:
        raise BundleError(f"{name} gives {what} as {getattr(output, 'dtype', type(output))}; expected float32")
    if output.ndim not in ranks or output.shape[0] != 1 or output.shape[1] < 1:
        raise BundleError(
            f"{name} gives {what} of shape {output.shape} for one photo; expected {' or '.join(map(str, ranks))} "
            "dimensions, the first for the photo: export it again"
        )
    return int(output.shape[1])
