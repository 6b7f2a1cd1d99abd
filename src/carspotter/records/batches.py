"""A batch: what decides its answers, whoever computes them and however often it is interrupted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from carspotter.records.base import Record, hash_json


class Batch(Record):
    """What each part of a batch is a pure function of; `batch.json` in the folder of the parts."""

    format_version: int = Field(1, ge=1)
    carspotter: str = Field(description="the version that answers; another one may answer differently")
    pillow: str = Field(description="version of the decoder")
    runtime_version: str = Field(description="version of who computes")
    bundle: str = Field(description="hash of the model")
    manifest: str = Field(description="sha256 of the manifest, hex")
    folder: str = Field(description="that its relative places start from; empty where all are absolute")
    rows: int = Field(ge=1, description="rows of the manifest")
    chunk_rows: int = Field(ge=1, description="rows of each part but the last")
    tta: int = Field(ge=1, description="views per photo")
    runtime: Literal["onnxruntime", "openvino"]

    @property
    def chunks(self) -> int:
        """How many parts there will be."""
        return -(-self.rows // self.chunk_rows)

    def rows_of(self, chunk: int) -> int:
        """How many rows a part has."""
        return min(self.chunk_rows, self.rows - chunk * self.chunk_rows)

    @property
    def hash(self) -> str:
        """sha256 over all of it; each part carries it, so that a part from elsewhere is noticed."""
        return hash_json(self.model_dump())
