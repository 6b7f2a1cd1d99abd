"""The models of a server, and their replacement while it runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from carspotter.apps.serving.worker import Model
from carspotter.data.wording import brief
from carspotter.errors import BundleError, SourceError
from carspotter.inference.bundle import CARD, Bundle, read_bundle

LOOK_SECONDS = 2.0
"""Between two looks at the folders (assumption)."""
log = logging.getLogger("carspotter.serving")
Print = tuple[int, int, int]


class Shelf:
    """Models by name. A folder that holds another model is noticed, verified, and served from then on.

    Args:
        folders: of the models; a model is called as its folder.

    Raises:
        BundleError: a folder is no sound model.
        SourceError: two models have one name.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        names = [folder.resolve().name for folder in folders]
        if twice := {name for name in names if names.count(name) > 1}:
            raise SourceError(f"two models are called {brief(min(twice))}; rename a folder")
        self._folders = dict(zip(names, folders, strict=True))
        self._prints: dict[str, Print | None] = {}
        self._refused: dict[str, Print] = {}
        self._bundles: dict[str, Bundle] = {}
        for name in names:
            self._prints[name] = self._print(name)
            self._bundles[name] = read_bundle(self._folders[name])

    @property
    def bundles(self) -> Mapping[str, Bundle]:
        """As they are served now, the first the one that is asked where a request names none."""
        return self._bundles

    @property
    def models(self) -> tuple[Model, ...]:
        """The same as workers know them."""
        return tuple(self.model(name) for name in self._bundles)

    def model(self, name: str) -> Model:
        """One of them."""
        return self.now(name)[1]

    def now(self, name: str) -> tuple[Bundle, Model]:
        """One version of a model, whatever replaces it meanwhile."""
        bundle = self._bundles[name]
        return bundle, Model(name, str(self._folders[name].absolute()), bundle.hash)

    def refresh(self) -> tuple[str, ...]:
        """Look at every folder; one that is no sound model changes nothing.

        Returns:
            The names of models that were replaced.
        """
        changed = []
        for name, folder in self._folders.items():
            seen = self._print(name)
            if seen is None or seen == self._prints[name]:
                continue
            try:
                fresh = read_bundle(folder)
            except BundleError as fault:  # under way, or damaged: what is served stays, and is looked at again
                if self._refused.get(name) != seen:
                    log.warning("%s is not replaced: %s", name, fault)
                    self._refused[name] = seen
                continue
            self._prints[name] = seen
            if fresh.hash != self._bundles[name].hash:
                self._bundles[name] = fresh
                changed.append(name)
        return tuple(changed)

    async def watch(self, changed: Callable[[tuple[str, ...]], None]) -> None:
        """Look now and then, for as long as the server runs."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if names := await asyncio.to_thread(self.refresh):
                log.info("replaced: %s", ", ".join(names))
                changed(names)

    def _print(self, name: str) -> Print | None:
        """What tells that a card was replaced; None where there is none for the moment."""
        try:
            state = (self._folders[name] / CARD).stat()
        except OSError:
            return None
        return state.st_mtime_ns, state.st_ino, state.st_size
