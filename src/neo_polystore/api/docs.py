"""The API's documentation page, served from files of our own: the default needs the internet."""

from __future__ import annotations

from fastapi import FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import RedirectResponse
from starlette.staticfiles import StaticFiles


def install(app: FastAPI) -> None:
    """Serve Swagger UI at `/docs`, from the files that the package fastapi-swagger carries."""
    app.mount("/docs/ui", StaticFiles(packages=[("fastapi_swagger", "resources")]), name="docs-ui")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return get_swagger_ui_html(
            openapi_url=app.openapi_url or "",
            title=f"{app.title} API",
            swagger_js_url="/docs/ui/swagger-ui-bundle.js",
            swagger_css_url="/docs/ui/swagger-ui.css",
            swagger_favicon_url="/docs/ui/favicon-32x32.png",
        )

    @app.get("/", include_in_schema=False)
    async def start() -> Response:
        return RedirectResponse("/docs")
