"""`/openapi.json` and `/docs`: the API's description and a page to read and try it, from this process alone."""

from __future__ import annotations

from importlib import resources
from typing import Final

import msgspec
from fastapi import APIRouter, FastAPI
from starlette.responses import Response

from hookline.web.document import openapi

_HTML: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Hookline API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" href="docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START: Final = """SwaggerUIBundle({
  url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, filter: true, persistAuthorization: true,
  presets: [SwaggerUIBundle.presets.apis], layout: "BaseLayout", validatorUrl: null
});
"""
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FILES: Final = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
_CACHED: Final = {"cache-control": "public, max-age=3600"}


def page_routes(app: FastAPI, version: str) -> None:
    """The routes."""
    router = app.router
    document: list[bytes] = []

    @router.get("/openapi.json", include_in_schema=False)
    async def openapi_document() -> Response:
        """The OpenAPI document, made once."""
        if not document:
            document.append(msgspec.json.encode(openapi(app, version)))
        return Response(document[0], media_type="application/json")

    @router.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        """The page."""
        return Response(_HTML, media_type="text/html", headers={"content-security-policy": _POLICY})

    @router.get("/docs/start.js", include_in_schema=False)
    async def start() -> Response:
        """What starts the page: a file, so that the policy need not allow inline scripts."""
        return Response(_START, media_type="text/javascript", headers=_CACHED)

    for name, media_type in _FILES.items():
        _file(router, name, media_type)


def _file(router: APIRouter, name: str, media_type: str) -> None:
    content: list[bytes] = []

    @router.get(f"/docs/{name}", include_in_schema=False)
    async def file() -> Response:
        if not content:
            content.append(resources.files("fastapi_swagger.resources").joinpath(name).read_bytes())
        return Response(content[0], media_type=media_type, headers=_CACHED)
