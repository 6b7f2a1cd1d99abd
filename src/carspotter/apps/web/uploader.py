"""A place to drop files onto, or to choose them by a button; what does not arrive is said."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from nicegui import events, ui

from carspotter.apps.web.held import Upload
from carspotter.apps.web.visit import Visit
from carspotter.data.wording import SHOWN, brief

OVERHEAD = 64 * 2**10
"""Bytes of a request around its one file (assumption: a form's headers, with a long name)."""
REJECTIONS = {"accept": "wrong_kind", "max-file-size": "too_large", "max-files": "too_many_files"}
"""Why Quasar's uploader takes a file no further → our text; a file that is on its way already needs none."""
REJECTED = "found => emit(found.map(one => [one.failedPropValidation, one.file.name]))"
FAILED = "found => emit(found.files.map(file => file.name))"


@dataclass(frozen=True, slots=True)
class Kind:
    """What may be dropped.

    Attributes:
        accept: as HTML says it.
        told: to people.
        pasted: whether pasted pictures go there.
    """

    accept: str
    told: str
    pasted: bool = False


PHOTOS = Kind("image/*,.heic,.heif", "JPEG, PNG, WEBP", pasted=True)
TABLES = Kind(".csv,.tsv,.xlsx", "CSV, XLSX")
PHOTOS_OR_ZIP = Kind(f"{PHOTOS.accept},.zip", f"{PHOTOS.told}, ZIP")


def add_uploader(
    visit: Visit,
    label: str,
    take: Callable[[Upload], Awaitable[None]],
    *,
    kind: Kind = PHOTOS,
    files: int,
    most: int,
) -> None:
    """Put it onto the page.

    Args:
        visit: of the visitor.
        label: what it is for.
        take: is handed each file.
        kind: of files.
        files: at a time.
        most: bytes of a file.
    """
    words = visit.words

    async def arrived(event: events.UploadEventArguments) -> None:
        async def handed() -> None:
            await take(Upload(event.file.name, await event.file.read()))

        await visit.guarded(handed)

    def rejected(event: events.GenericEventArguments) -> None:
        limits = {"kinds": kind.told, "megabytes": most // 2**20, "files": files}
        for cause, key in REJECTIONS.items():
            if names := [str(name) for why, name in event.args if why == cause]:
                visit.warn(words(key, names=_some(names), **limits))

    def failed(event: events.GenericEventArguments) -> None:
        names = _some([str(name) for name in event.args])
        visit.warn(words("not_arrived", names=names, seconds=visit.limits.receive_seconds))

    made = ui.upload(
        multiple=files > 1,
        auto_upload=True,
        max_file_size=min(most, visit.limits.body_bytes - OVERHEAD),
        max_files=files,
        on_upload=arrived,
    )
    uploader = f"getElement({made.id}).$refs.qRef"
    with made.props(f'accept="{kind.accept}" flat bordered').classes("w-full"), made.add_slot("header"):
        button = ui.button(label, icon="add").props("flat no-caps align=left text-color=white").classes("w-full")
        button.on("click", js_handler=f"() => {uploader}.pickFiles()")
        ui.element("q-uploader-add-trigger")  # the input of files itself, which the button opens
    made.on("start", lambda: button.props("loading"))
    made.on("finish", lambda: button.props(remove="loading"))
    made.on("finish", js_handler=f"() => {uploader}.reset()")  # else it counts what it has sent already
    made.on("rejected", rejected, js_handler=REJECTED)
    made.on("failed", failed, js_handler=FAILED)
    if kind.pasted:
        made.classes("takes-photos")


def _some(names: list[str]) -> str:
    """A few of them, in no language."""
    return ", ".join(brief(name) for name in names[:SHOWN]) + (f", … ({len(names)})" if len(names) > SHOWN else "")
