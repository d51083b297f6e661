"""The API as an OpenAPI 3.1 document, made from the table of routes: no second description that could grow stale.

A handler's docstring is its description; the query parameters are those it names as ``?name=`` or ``&name=``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from .answers import RETRYABLE, STATUS

QUERY: Final = re.compile(r"[?&]([a-z_]+)=(\w*)")
PATH: Final = re.compile(r"\{([a-z_]+)\}")
_PROBLEM: Final = {"$ref": "#/components/responses/problem"}


def query_names(doc: str) -> list[str]:
    """The query parameters that a handler's docstring names, in order, each once."""
    return list(dict.fromkeys(name for name, _ in QUERY.findall(doc)))


def document(table: Iterable[tuple[str, str, str]]) -> dict[str, Any]:
    """The document of a table of (method, path, docstring)."""
    paths: dict[str, dict[str, Any]] = {}
    for method, path, doc in table:
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, " ".join(doc.split()))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Huzhu node",
            "version": "1",
            "description": "Bytes are hexadecimal, amounts integers of fen, times Unix milliseconds.",
        },
        "paths": paths,
        "components": {"schemas": {"Problem": _problem_schema()}, "responses": {"problem": _problem_response()}},
    }


def _operation(method: str, path: str, doc: str) -> dict[str, Any]:
    parameters = [_parameter(name, "path") for name in PATH.findall(path)]
    parameters += [_parameter(name, "query") for name in query_names(doc)]
    operation: dict[str, Any] = {
        "operationId": method.lower() + re.sub(r"[^a-z0-9]+", "_", path.lower()).rstrip("_"),
        "summary": re.split(r"(?<=[^.])[.:;](?:\s|$)", doc, maxsplit=1)[0],
        "description": doc,
        "responses": {"200": {"description": "The answer."}, "default": _PROBLEM},
    }
    if parameters:
        operation["parameters"] = parameters
    if method == "POST":
        operation["requestBody"] = {
            "required": True,
            "description": "Signed, as the description says.",
            "content": {"application/msgpack": {}, "application/json": {}},
        }
    return operation


def _parameter(name: str, where: str) -> dict[str, Any]:
    return {"name": name, "in": where, "required": where == "path", "schema": {"type": "string"}}


def _problem_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "RFC 9457. `code` is stable for ever.",
        "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer", "enum": sorted({status.value for status in STATUS.values()})},
            "code": {"type": "string", "enum": sorted(STATUS)},
            "detail": {"type": "string"},
        },
    }


def _problem_response() -> dict[str, Any]:
    return {
        "description": f"A refusal. {', '.join(sorted(RETRYABLE))} carry Retry-After.",
        "headers": {"Retry-After": {"schema": {"type": "integer"}}},
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
