"""What one server takes, each bound with its reason."""

from __future__ import annotations

from dataclasses import dataclass, replace

from carspotter.data.archive import MAX_PHOTO_BYTES
from carspotter.workers import usable_cores


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a server.

    Attributes:
        workers: processes that decode and compute.
        wait: how long a request's first photo may be expected to wait, in times that a photo takes; beyond it the
            request is refused at once; less where more come than can be served (`Pool.patience`). Assumption: who
            shares a worker waits for one other photo at most (docs/serving.md says what comes of it under load).
        waiting: photos that are let in and not answered yet, of all requests. Assumption: four of the largest requests,
            which one worker answers in half a minute.
        photos: of one request. Assumption: sites allow 30 to 50 photos an ad.
        photo_bytes: of one photo.
        body_bytes: of one request. Assumption: thirty phone photos.
        bodies_bytes: of all requests that are under way, in memory and once more in the temporary folder. Assumption:
            five of the largest.
        fields: of one request beside photos.
        receive_seconds: in which a request must have arrived whole. Assumption: a phone on a slow line sends 1 MB/s.
        header_seconds: in which its headers must have.
        answer_seconds: in which it must be answered from then on. Assumption: a program does not wait longer.
        photo_seconds: that one photo may take before its worker is ended.
        memory_bytes: that a worker may take beyond what it starts with. Assumption: a photo of 50 million pixels takes
            150 MB, and what decoding makes of it three times that.
        connections: at once. Assumption: half of the file descriptors that a process has by default.
    """

    workers: int = 0
    wait: float = 1.0
    waiting: int = 200
    photos: int = 50
    photo_bytes: int = MAX_PHOTO_BYTES
    body_bytes: int = 200 * 2**20
    bodies_bytes: int = 2**30
    fields: int = 20
    receive_seconds: float = 60.0
    header_seconds: float = 10.0
    answer_seconds: float = 60.0
    photo_seconds: float = 20.0
    memory_bytes: int = 2 * 2**30
    connections: int = 500

    def resolved(self) -> Limits:
        """With the numbers that follow from the machine."""
        return replace(self, workers=self.workers or usable_cores())
