"""`/docs`: the API's description as a page, with scripts of an installed package: it asks nobody but this server.

FastAPI's own page takes them from a public network of servers. The package is `fastapi-offline` (MIT), which brings
Swagger UI (Apache-2.0).
"""

from __future__ import annotations

from importlib.resources import files

from fastapi import FastAPI, HTTPException
from fastapi.responses import Response

PACKAGE = "fastapi_offline"
SCRIPT, SHEET, START = "swagger-ui-bundle.js", "swagger-ui.css", "start.js"
KINDS = {SCRIPT: "text/javascript", SHEET: "text/css", START: "text/javascript"}
"""Name → type of all that the page may load."""
PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>carspotter: the API</title>
<link rel="stylesheet" href="docs/{SHEET}">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/{SCRIPT}"></script>
<script src="docs/{START}"></script>
</body>
</html>
"""
BEGIN = "SwaggerUIBundle({url: 'openapi.json', dom_id: '#swagger-ui', validatorUrl: null, deepLinking: true});\n"
"""A file of its own, so that no script stands in the page. The validator would be asked for a badge, far away."""
HEADERS = {
    # Swagger UI writes styles into its elements, and its icons are data.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def add_docs(app: FastAPI) -> None:
    """Put the page and what it loads onto an app made with `docs_url=None`.

    Raises:
        ModuleNotFoundError: the package is not there; it comes with carspotter[serve].
    """
    static = files(PACKAGE) / "static"
    held = {name: (static / name).read_bytes() for name in (SCRIPT, SHEET)} | {START: BEGIN.encode()}

    async def page() -> Response:
        return Response(PAGE, media_type="text/html", headers=HEADERS)

    async def part(name: str) -> Response:
        if name not in held:
            raise HTTPException(404)
        return Response(held[name], media_type=KINDS[name], headers=HEADERS)

    app.get("/docs", include_in_schema=False)(page)
    app.get("/docs/{name}", include_in_schema=False)(part)
