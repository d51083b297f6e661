"""The OpenAPI document says what the routes do: every route, its parameters, and nothing else."""

import inspect
import re
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from node.api.answers import STATUS
from node.api.feed import Feeds
from node.api.openapi import document, query_names
from node.api.server import Route, routes
from tests.node.api_kit import FakeNode


def table() -> list[Route]:
    node = FakeNode()
    return routes(node, node.waiters, Feeds(node, node.waiters))


def made() -> dict[str, Any]:
    return document([(route.method, route.path, route.doc) for route in table()])


@pytest.mark.asyncio
async def test_it_is_served_and_names_exactly_the_routes_of_the_application() -> None:
    node = FakeNode()
    app = node.app()
    async with TestClient(TestServer(app)) as client, client.get("/v1/openapi.json") as answer:
        served = await answer.json()
    registered = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    documented = {(method.upper(), path) for path, item in served["paths"].items() for method in item}
    assert documented | {("GET", "/")} == registered


def test_every_path_parameter_is_declared_and_required() -> None:
    for path, item in made()["paths"].items():
        for operation in item.values():
            declared = {entry["name"] for entry in operation.get("parameters", []) if entry["in"] == "path"}
            assert declared == set(re.findall(r"\{(\w+)\}", path))
            assert all(entry["required"] for entry in operation.get("parameters", []) if entry["in"] == "path")


READS = re.compile(
    r"asked\.(?:integer|maybe|flag|one_of)\(\s*request,\s*\"(\w+)\"|request\.query(?:\.get\(|\[)\"(\w+)\""
)


@pytest.mark.parametrize("route", table(), ids=lambda route: f"{route.method} {route.path}")
def test_a_handler_reads_no_query_parameter_that_its_sentence_does_not_name(route: Route) -> None:
    source = inspect.getsource(route.handler)
    read = {first or second for first, second in READS.findall(source)}
    assert read <= set(query_names(route.doc))


def test_operation_ids_are_distinct_and_every_code_is_listed() -> None:
    found = made()
    ids = [operation["operationId"] for item in found["paths"].values() for operation in item.values()]
    assert len(set(ids)) == len(ids)
    assert set(found["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]) == set(STATUS)
