"""The form of a request: its photos and texts, read within all bounds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect

from carspotter.apps.serving.guard import AGAIN, Refusal
from carspotter.apps.serving.limits import Limits
from carspotter.apps.serving.patience import gone
from carspotter.data.wording import brief, visible
from carspotter.errors import Reason
from carspotter.records import Rejected

MAX_TEXT = 200
"""Characters of a declared model or a model's name (assumption)."""
log = logging.getLogger("carspotter.serving")


@dataclass(frozen=True, slots=True)
class Sent:
    """What a form holds.

    Attributes:
        photos: name, and bytes or the reason why they are not looked at.
        texts: its other fields.
    """

    photos: tuple[tuple[str, bytes | Rejected], ...]
    texts: dict[str, str]


async def read_form(request: Request, fields: Sequence[str], limits: Limits) -> Sent:
    """Photos, and texts in some fields.

    Raises:
        Refusal: it is no such form, or too much, or there is no room for it, or the client hung up.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Refusal(400, "no_form", "send a form (multipart/form-data) with the field photos")
    try:
        async with request.form(max_files=limits.photos, max_fields=limits.fields, max_part_size=4 * MAX_TEXT) as form:
            return await _read(form, fields, limits)
    except ClientDisconnect:
        raise gone() from None
    except OSError:
        log.exception("a request could not be kept")
        raise Refusal(503, "no_room", "there is no room for the request just now; try again", AGAIN) from None
    except (MultiPartException, HTTPException) as broken:
        many = "Too many" in str(getattr(broken, "message", "") or getattr(broken, "detail", ""))
        if many:
            most = f"{limits.photos} photos and {limits.fields} fields"
            raise Refusal(413, "too_many", f"a request may have {most}; send several requests") from None
        raise Refusal(400, "bad_form", "the form is damaged or a field is too long; send it again") from None


async def _read(form: FormData, fields: Sequence[str], limits: Limits) -> Sent:
    photos: list[tuple[str, bytes | Rejected]] = []
    texts: dict[str, str] = {}
    for key, value in form.multi_items():
        if isinstance(value, UploadFile) and key == "photos":
            name = visible(value.filename or f"photo {len(photos) + 1}")
            photos.append((name, await _bytes(value, limits.photo_bytes)))
        elif isinstance(value, str) and key in fields:
            texts[key] = value
        else:
            kind = "photos must be files" if key == "photos" else f"expected photos and {', '.join(fields)}"
            raise Refusal(400, "bad_field", f"the field {brief(key)} is not expected here: {kind}")
    if not photos:
        raise Refusal(400, "no_photos", "the field photos is missing: one or more photos")
    if any(len(text) > MAX_TEXT for text in texts.values()):
        raise Refusal(400, "too_long", f"a text may have {MAX_TEXT} characters")
    return Sent(tuple(photos), texts)


async def _bytes(upload: UploadFile, most: int) -> bytes | Rejected:
    data = await upload.read(most + 1)
    if len(data) > most:
        return Rejected("", Reason.TOO_LARGE, f"a photo may have {most:,} bytes; save it smaller")
    return data
