"""From a classifier to the files of a bundle, and proof that both answer alike."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from carspotter.inference.runtime import EMBEDDING, FEATURES, LOGITS, open_runtime
from carspotter.records import Geometry, Pixels
from carspotter.training.classifier import Classifier
from carspotter.training.loop import evaluating

OPSET = 18
"""ONNX operator set: old enough for every runtime named in the docs, new enough for the operators used."""

INPUT, OUTPUTS = "photos", (LOGITS, EMBEDDING, FEATURES)


class _Exported(nn.Module):
    """uint8 photos in, everything the predictor may ask for out."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.classifier.body.feature_map(self.classifier.prepare(photos))
        embedding = self.classifier.head.embed(self.classifier.body.pool(features))
        return self.classifier.head.linear(embedding), embedding, features


def export_onnx(classifier: Classifier, geometry: Geometry, path: Path) -> None:
    """Write the network as ONNX: (N, H, W, 3) uint8 → logits (N, K), embedding (N, D), features (N, C, h, w).

    Normalisation is inside; the photo size is fixed, the batch is not. Node metadata is stripped: it would hold paths
    of this machine.
    """
    example = torch.zeros((2, geometry.height, geometry.width, 3), dtype=torch.uint8)
    axes = {name: {0: "n"} for name in (INPUT, *OUTPUTS)}
    with evaluating(classifier), warnings.catch_warnings():
        # The exporter by tracing takes 3 s where the newer one takes 30; it announces that it is the older.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Exported(classifier).eval(),
            (example,),
            str(path),
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
            external_data=False,
        )
    _strip(path)


def exported(classifier: Classifier, geometry: Geometry) -> bytes:
    """The bytes of that file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        export_onnx(classifier, geometry, path)
        return path.read_bytes()


def _strip(path: Path) -> None:
    model = onnx.load(path, load_external_data=False)
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    model.doc_string = ""
    del model.metadata_props[:]
    onnx.checker.check_model(model)
    onnx.save(model, path)


def save_weights(classifier: Classifier, path: Path) -> None:
    """Write the weights as safetensors, to train on from them."""
    save_file({key: value.contiguous() for key, value in classifier.state_dict().items()}, path)


def parity(classifier: Classifier, model: Path, photos: list[Pixels]) -> float:
    """The largest |difference| of a logit between torch and the exported file on these photos."""
    batch = np.stack(photos)
    with evaluating(classifier):
        ours = classifier(classifier.prepare(torch.from_numpy(batch))).numpy()
    theirs = open_runtime(model, threads=torch.get_num_threads()).run(batch).logits
    return float(np.abs(ours - theirs).max())
