"""What the page asks is counted as what programs ask."""

from __future__ import annotations

import asyncio
from pathlib import Path

from carspotter.apps.serving.api import Api
from carspotter.apps.serving.limits import Limits
from carspotter.apps.serving.registry import ModelRegistry
from carspotter.apps.web.service import PageService, Upload
from helpers.tiny import colour_photo, write_tiny_bundle


def test_photos_of_the_page_are_counted(tmp_path: Path) -> None:
    api = Api(ModelRegistry([write_tiny_bundle(tmp_path / "tiny").folder]), Limits(workers=1).resolved())
    red, bad = Upload("r.png", colour_photo(250, 0, 0)), Upload("x.png", b"no photo")

    async def ask() -> None:
        await api.pool.start()
        try:
            service = PageService(api)
            await service.identify("tiny", red)
            await service.check("tiny", "red", [red, bad])
            await service.picture("tiny", red, "thumbnail")  # a picture is no answer
        finally:
            await api.pool.stop()

    asyncio.run(ask())
    told = api.metrics.text().decode()
    assert 'carspotter_photos_total{model="tiny",verdict="named"} 2.0' in told
    assert 'carspotter_photos_total{model="tiny",verdict="bad_photo"} 1.0' in told
