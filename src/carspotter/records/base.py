"""What every noun that is written to disk shares."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(ge=0, le=1e9)]
"""A duration; thirty years are enough, and a database that counts milliseconds can hold them."""


class Record(BaseModel):
    """Base of everything written to disk: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def hash_json(value: Any) -> str:
    """sha256 of a JSON value in canonical form (sorted keys, no spaces, UTF-8)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
