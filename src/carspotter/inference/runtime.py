"""The network behind a small seam; the only module that knows ONNX Runtime.

A session runs on one thread. Callers that have more cores run several photos at once, each on its own thread: measured
with EfficientNet-Lite0 at 320x240 on two cores, two threads with one photo each reach 68-82 images/s, one session with
two threads 36-58 in batches of 16 and 32-56 with single photos, with or without spinning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as faults

from carspotter.data.wording import cause, one_line
from carspotter.errors import BundleError
from carspotter.inference.onnx_scan import refuse_external_data
from carspotter.records import Logits

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
    """

    height: int
    width: int
    classes: int
    dimensions: int

    def run(self, photos: npt.NDArray[np.uint8], *, feature_map: bool = False) -> Outputs:
        """Run N photos.

        Args:
            photos: (N, height, width, 3) sRGB uint8.
            feature_map: also copy out the feature map.
        """
        ...


def open_runtime(model: Path | bytes, *, threads: int = 0, name: str = "model.onnx") -> Runtime:
    """Open a bundle's `model.onnx` on the CPU and try it on one grey photo.

    Args:
        model: the file, or its bytes as they were verified.
        threads: CPU threads of one run; 0 takes all cores.
        name: of bytes, for messages.

    Raises:
        BundleError: unreadable, no ONNX, tensors outside the file, unknown operators, or another shape than uint8
            (N, H, W, 3) in; `logits` (N, K), `embedding` (N, D), `features` (N, C, h, w) or (N, tokens, C) out.
    """
    data, name = _read(model) if isinstance(model, Path) else (model, name)
    refuse_external_data(data, name)
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

    def __init__(self, session: ort.InferenceSession, name: str) -> None:
        self._session = session
        self._name = name
        self._input, self.height, self.width = _input_shape(session, name)
        outputs = [o.name for o in session.get_outputs()]
        missing = [wanted for wanted in (LOGITS, EMBEDDING, FEATURES) if wanted not in outputs]
        if missing:
            raise BundleError(f"{name} has no output {', '.join(missing)} (it has {', '.join(outputs)}); train again")
        for output in session.get_outputs():
            if output.name in (LOGITS, EMBEDDING, FEATURES) and output.type != "tensor(float)":
                raise BundleError(f"{name} gives {output.name} as {output.type}; expected tensor(float)")
        # Declared output shapes are often symbolic, and only claims: one grey photo tells the real ones.
        trial = self.run(np.full((1, self.height, self.width, 3), 128, dtype=np.uint8), feature_map=True)
        self.classes = _columns(LOGITS, trial.logits, (2,), name)
        self.dimensions = _columns(EMBEDDING, trial.embeddings, (2,), name)
        _columns(FEATURES, trial.feature_map, (3, 4), name)

    def run(self, photos: npt.NDArray[np.uint8], *, feature_map: bool = False) -> Outputs:
        names = [LOGITS, EMBEDDING, FEATURES] if feature_map else [LOGITS, EMBEDDING]
        try:
            found: Sequence[npt.NDArray[np.float32]] = self._session.run(names, {self._input: photos})
        except _FAULTS as fault:
            raise BundleError(f"{self._name} failed on {photos.shape[0]} photos: {one_line(fault)}") from None
        logits, embeddings, *rest = found
        if not (np.isfinite(logits).all() and np.isfinite(embeddings).all()):
            raise BundleError(f"{self._name} answers with not-a-number: its weights are unusable; train again")
        return Outputs(logits, embeddings, rest[0] if rest else None)


def _input_shape(session: ort.InferenceSession, name: str) -> tuple[str, int, int]:
    inputs = session.get_inputs()
    first = inputs[0] if len(inputs) == 1 else None
    shape = list(first.shape) if first is not None and first.type == "tensor(uint8)" else []
    sized = len(shape) == 4 and all(isinstance(n, int) and 1 <= n <= _LARGEST for n in shape[1:3])
    if first is None or not sized or shape[3] != 3:
        found = ", ".join(f"{i.name}: {i.type} {i.shape}" for i in inputs)
        raise BundleError(
            f"{name} takes {found or 'nothing'}; expected one uint8 input (N, height, width, 3), "
            f"at most {_LARGEST} pixels a side"
        )
    if isinstance(shape[0], int):
        raise BundleError(f"{name} takes exactly {shape[0]} photos at once; expected any number: export it again")
    return first.name, shape[1], shape[2]


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
