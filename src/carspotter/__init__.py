"""carspotter names the car model in a photo, and says when it cannot.

    >>> import carspotter
    >>> answers = carspotter.load("models/demo").identify("photo.jpg")  # doctest: +SKIP

Names are handed on lazily: importing the package imports nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from carspotter.data.source import read_source as read_source
    from carspotter.inference.predictor import Predictor as Predictor
    from carspotter.inference.predictor import load as load
    from carspotter.recipe import Recipe as Recipe
    from carspotter.recipe import load_recipe as load_recipe
    from carspotter.records import Answer as Answer
    from carspotter.records import Dataset as Dataset
    from carspotter.training.train import train as train

_HOMES = {
    "Answer": "carspotter.records",
    "Dataset": "carspotter.records",
    "Predictor": "carspotter.inference.predictor",
    "Recipe": "carspotter.recipe",
    "load": "carspotter.inference.predictor",
    "load_recipe": "carspotter.recipe",
    "read_source": "carspotter.data.source",
    "train": "carspotter.training.train",
}
__all__ = [
    "Answer",
    "Dataset",
    "Predictor",
    "Recipe",
    "__version__",
    "load",
    "load_recipe",
    "read_source",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'carspotter' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
