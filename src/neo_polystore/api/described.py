"""What the OpenAPI document says of every route: that it takes a token, and how it may refuse."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI

from neo_polystore.api.responses import PROBLEM_TYPE
from neo_polystore.auth.permissions import PUBLIC, RULES
from neo_polystore.auth.rulebook import Rulebook

_SCHEMES: Final = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "a JSON Web Token, an API key, or the token of a login",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_REFUSALS: Final = {
    "400": "What is asked for makes no sense",
    "401": "No token, or one that is refused",
    "403": "The roles do not allow it, or the tenant is missing",
    "429": "A rate limit refuses the request",
    "503": "A store that is needed cannot be reached",
}
_OF_BODIES: Final = {
    "408": "The body takes too long",
    "413": "The body is too large",
}
_METHODS: Final = ("get", "put", "post", "delete", "patch")


def describe_security(app: FastAPI) -> None:
    """Add to the document what the layers around the routes do. Call it when the routes are there;
    the document itself is made when it is first asked for."""
    plain = app.openapi
    rules = Rulebook(RULES)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            components = document.setdefault("components", {})
            components["securitySchemes"] = _SCHEMES
            for path, item in document["paths"].items():
                for method in _METHODS:
                    if method in item:
                        found = rules.find(method.upper(), path)
                        _describe(item[method], found.permission if found else "")
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]


def _describe(operation: dict[str, Any], permission: str) -> None:
    if permission != PUBLIC:
        operation["security"] = [{"bearer": []}, {"apiKey": []}]
    refusals = _REFUSALS | (_OF_BODIES if "requestBody" in operation else {})
    responses = operation["responses"]
    for status, why in refusals.items():
        if status not in responses:
            responses[status] = {"description": why, "content": {PROBLEM_TYPE: _SCHEMA}}
    for status, response in responses.items():
        content = response.get("content", {})
        # FastAPI knows one media type per route; problems have their own, and no other schema
        if int(status) >= 400 and "application/json" in content:
            model = content["application/json"].get("schema", {})
            if model in ({"$ref": "#/components/schemas/Problem"}, _VALIDATION):
                response["content"] = {PROBLEM_TYPE: _SCHEMA}


_VALIDATION: Final = {"$ref": "#/components/schemas/HTTPValidationError"}
_SCHEMA: Final = {
    "schema": {
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "instance": {"type": "string"},
        },
    }
}
