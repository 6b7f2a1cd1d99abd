"""The models of a server, and their replacement while it runs.

What is served lies in copies of the server's own: whatever becomes of a model's folder, each process can open the
version that is served, today and when it is started anew.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from carspotter.apps.serving.worker import KEPT, Model
from carspotter.data.wording import brief, cause
from carspotter.errors import BundleError, SourceError
from carspotter.inference.bundle import CARD, Bundle, read_bundle, write_bundle

LOOK_SECONDS = 2.0
"""Between two looks at the folders (assumption)."""
log = logging.getLogger("carspotter.serving")
Print = tuple[int, int, int]
Opens = Callable[[Model], Awaitable[None]]
"""Passes when a process could open a model, and raises `BundleError` when none can."""


class ModelRegistry:
    """Models by name. A folder that holds another model is noticed, copied, tried, and served from then on.

    Args:
        folders: of the models; a model is called as its folder.

    Raises:
        BundleError: a folder is no sound model, or there is no room for its copy.
        SourceError: two models have one name.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        names = [folder.resolve().name for folder in folders]
        if twice := {name for name in names if names.count(name) > 1}:
            raise SourceError(f"two models are called {brief(min(twice))}; rename a folder")
        self._folders = dict(zip(names, folders, strict=True))
        self._place = _place_of(self)
        self._copies = 0
        self._looking = asyncio.Lock()
        self._prints: dict[str, Print | None] = {}
        self._refused: dict[str, Print] = {}
        self._versions: dict[str, list[Bundle]] = {}
        for name in names:
            self._prints[name] = self._print(name)
            self._versions[name] = [self._copy(name, read_bundle(self._folders[name]))]

    @property
    def bundles(self) -> Mapping[str, Bundle]:
        """As they are served now, the first the one that is asked where a request names none."""
        return {name: versions[-1] for name, versions in self._versions.items()}

    @property
    def models(self) -> tuple[Model, ...]:
        """The same as workers know them."""
        return tuple(self.model(name) for name in self._versions)

    def model(self, name: str) -> Model:
        """One of them."""
        return self.now(name)[1]

    def now(self, name: str) -> tuple[Bundle, Model]:
        """One version of a model, whatever replaces it meanwhile."""
        bundle = self._versions[name][-1]
        return bundle, _model(name, bundle)

    def bundle(self, model: Model) -> Bundle | None:
        """A version that is served, or was before the last replacement."""
        return next((one for one in self._versions[model.name] if _model(model.name, one) == model), None)

    def look(self) -> dict[str, tuple[Print, Bundle]]:
        """Copies of what lies in the folders and is not served yet; what is no sound model changes nothing."""
        found = {}
        for name, folder in self._folders.items():
            seen = self._print(name)
            if seen is None or seen == self._prints[name]:
                continue
            try:
                fresh = read_bundle(folder)
                if fresh.hash == self._versions[name][-1].hash:
                    self._prints[name] = seen
                else:
                    found[name] = seen, self._copy(name, fresh)
            except BundleError as fault:  # under way, or damaged: what is served stays, and is looked at again
                if self._refused.get(name) != seen:
                    log.warning("%s is not replaced: %s", name, fault)
                    self._refused[name] = seen
        return found

    async def refresh(self, opens: Opens) -> tuple[str, ...]:
        """Look at every folder, and serve what a process could open.

        Returns:
            The names of models that were replaced.
        """
        changed = []
        async with self._looking:
            for name, (seen, fresh) in (await asyncio.to_thread(self.look)).items():
                try:
                    await opens(_model(name, fresh))
                except BundleError as fault:  # sound, and of no use: it is not tried again until the folder changes
                    log.warning("%s is not replaced: %s", name, fault)
                    _remove(fresh.folder)
                else:
                    self._serve(name, fresh)
                    changed.append(name)
                self._prints[name] = seen
        return tuple(changed)

    async def watch(self, opens: Opens, changed: Callable[[tuple[str, ...]], None]) -> None:
        """Look now and then, for as long as the server runs."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if names := await self.refresh(opens):
                log.info("replaced: %s", ", ".join(names))
                changed(names)

    def _serve(self, name: str, fresh: Bundle) -> None:
        """From now on; the version before stays for requests under way."""
        versions = self._versions[name]
        versions.append(fresh)
        while len(versions) > KEPT:
            _remove(versions.pop(0).folder)

    def _copy(self, name: str, bundle: Bundle) -> Bundle:
        self._copies += 1
        files = {file: bundle.folder / file for file in bundle.card.files}
        try:
            return write_bundle(self._place / str(self._copies) / name, bundle.card, files)
        except BundleError as fault:
            raise BundleError(f"{bundle.folder} cannot be copied to be served: {fault}") from None

    def _print(self, name: str) -> Print | None:
        """What tells that a card was replaced; None where there is none for the moment."""
        try:
            state = (self._folders[name] / CARD).stat()
        except OSError:
            return None
        return state.st_mtime_ns, state.st_ino, state.st_size


def _model(name: str, bundle: Bundle) -> Model:
    return Model(name, str(bundle.folder), bundle.hash)


def _remove(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)


def _place_of(owner: object) -> Path:
    """A folder that goes when its owner does; locked, so that no cleaner of old files takes it (tmpfiles.d(5)).

    Raises:
        BundleError: there is no place for one.
    """
    try:
        place = Path(tempfile.mkdtemp(prefix="carspotter-"))
        lock = os.open(place, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_SH)
    except OSError as fault:
        raise BundleError(f"no temporary folder for copies of the models: {cause(fault)}; set TMPDIR") from None
    weakref.finalize(owner, _remove, place)
    weakref.finalize(owner, os.close, lock)
    return place
