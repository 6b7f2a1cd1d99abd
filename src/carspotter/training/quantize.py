"""A network in 8-bit integers: static, per channel, its ranges taken from photos that trained it.

Source: B. Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference",
CVPR 2018; per channel as R. Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference", 2018.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from carspotter.errors import TrainingError
from carspotter.records import Pixels

KINDS = ["Conv"]
"""Operators that compute in integers: nearly all of the work. OpenVINO 2026.4 cannot plan nets whose sums or heads do
so too; what turns a photo's bytes into floats stays as it is."""


def quantize(model: bytes, views: Sequence[Pixels]) -> bytes:
    """An ONNX graph that computes its convolutions in integers, as ONNX Runtime and OpenVINO do (QDQ).

    Args:
        model: a bundle's graph, in single precision.
        views: (height, width, 3) photos that trained it, as it is shown them; their activations give the ranges.

    Raises:
        TrainingError: the graph cannot be quantized.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # untyped
        def __init__(self) -> None:
            self._views: Iterator[Pixels] = iter(views)

        def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
            one = next(self._views, None)
            return None if one is None else {"photos": one[None]}

    with tempfile.TemporaryDirectory(prefix="carspotter-") as place:
        given, ready, made = (Path(place) / f"{name}.onnx" for name in ("given", "ready", "made"))
        given.write_bytes(model)
        try:
            quant_pre_process(str(given), str(ready), skip_symbolic_shape=True)
            quantize_static(
                str(ready),
                str(made),
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=KINDS,
            )
        except Exception as fault:  # noqa: BLE001 - its exceptions have no common base
            raise TrainingError(f"the network cannot be quantized: {type(fault).__name__}: {fault}") from None
        return made.read_bytes()
