"""The node's HTTP API from the command line's side: one client, its errors as the operator's (NODE §2).

A node that cannot be reached is exit code 4, one that is not ready 5; a refusal keeps the node's own stable code.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import aiohttp
import click

from ledger.errors import OperatorError

from .output import Exit

T = TypeVar("T")

DEFAULT_NODE: Final = "http://127.0.0.1:7050"
TIMEOUT_SECONDS: Final = 60.0
CHUNK_BYTES: Final = 1 << 20
NOT_READY_CODES: Final = frozenset({"NOT_READY", "MEMPOOL_FULL", "QUOTA_EXCEEDED", "RATE_LIMITED"})

node_option = click.option(
    "--node",
    default=DEFAULT_NODE,
    envvar="HUZHU_NODE",
    show_default=True,
    metavar="URL",
    help="The node's HTTP address; also HUZHU_NODE.",
)


class NodeClient:
    """One node's API over one connection pool. Use as an async context manager."""

    def __init__(self, url: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, **query: str | int) -> Any:
        """The JSON at ``path``. Raises ``OperatorError``."""
        return await self._call("GET", path, params=query)

    async def get_bytes(self, path: str, **query: str | int) -> bytes:
        """The raw bytes at ``path``."""
        return await self._request("GET", path, params=query, headers={"Accept": "application/octet-stream"})

    async def stream(self, route: str, **query: str | int) -> AsyncIterator[bytes]:
        """The raw bytes at ``route`` in pieces, as they come."""
        async with self._open("GET", route, params=query, timeout=aiohttp.ClientTimeout(total=None)) as response:
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                yield chunk

    async def download(self, path: Path, route: str, **query: str | int) -> None:
        """Write the raw bytes at ``route`` to the file ``path`` as they come."""
        async with self._open("GET", route, params=query, timeout=aiohttp.ClientTimeout(total=None)) as response:
            with path.open("wb") as file:
                async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                    file.write(chunk)

    async def post(self, path: str, body: bytes, content_type: str, **query: str | int) -> Any:
        """The JSON answer to ``body``."""
        return await self._call("POST", path, params=query, data=body, headers={"Content-Type": content_type})

    async def _call(self, method: str, path: str, **options: Any) -> Any:
        raw = await self._request(method, path, **options)
        try:
            return json.loads(raw)
        except ValueError as error:
            raise OperatorError(
                "NOT_A_NODE",
                f"{self.url}{path} did not answer in JSON",
                str(error),
                "is this a Huzhu node?",
                exit_code=4,
            ) from error

    async def _request(self, method: str, path: str, **options: Any) -> bytes:
        async with self._open(method, path, **options) as response:
            return await response.read()

    @asynccontextmanager
    async def _open(self, method: str, path: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer of a request that was not refused; errors, also those met while reading it, are the operator's."""
        if self._session is None:
            raise RuntimeError("use the client as an async context manager")
        try:
            async with self._session.request(method, self.url + path, **options) as response:
                if response.status >= 400:
                    raise _refusal(self.url + path, response.status, await response.read())
                yield response
        except TimeoutError as error:
            raise OperatorError(
                "NOT_READY",
                f"{self.url} did not answer in time",
                "",
                "look at `huzhu status`",
                exit_code=Exit.NOT_READY.value,
            ) from error
        except aiohttp.InvalidURL as error:
            raise OperatorError(
                "USAGE", f"{self.url!r} is not an HTTP address", "", "name the node as http://host:port", exit_code=2
            ) from error
        except aiohttp.ClientError as error:
            raise OperatorError(
                "NOT_REACHABLE",
                f"there is no answer from {self.url}",
                str(error),
                "start the node, or name another with --node",
                exit_code=Exit.NOT_REACHABLE.value,
            ) from error


def _refusal(where: str, status: int, raw: bytes) -> OperatorError:
    """An RFC 9457 problem as an error with the node's own code."""
    try:
        problem = json.loads(raw)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"code": f"HTTP_{status}", "title": f"{where} answered {status}"}
    code = str(problem.get("code", f"HTTP_{status}"))
    exit_code = Exit.NOT_READY if code in NOT_READY_CODES or status == 503 else Exit.FAILURE
    return OperatorError(
        code,
        str(problem.get("title") or code),
        str(problem.get("detail") or ""),
        str(problem.get("next") or ""),
        exit_code=exit_code.value,
    )


def ask(url: str, question: Callable[[NodeClient], Awaitable[T]]) -> T:
    """Run one conversation with a node."""

    async def conversation() -> T:
        async with NodeClient(url) as client:
            return await question(client)

    return asyncio.run(conversation())
