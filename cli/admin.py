"""The command line's side of a running node's administration socket (``node.admin``)."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

import aiohttp

from ledger.errors import OperatorError
from node.admin import SOCKET_NAME
from node.config import Config
from node.unix_socket import short_path

from .output import Exit

OPENING_SECONDS: Final = 5.0


def node_runs(config: Config) -> bool:
    """Whether a node of this home listens on its administration socket."""
    path = config.data_path / SOCKET_NAME
    if not path.exists():
        return False
    try:
        asyncio.run(_knock(config))
    except ConnectionRefusedError:  # it was left behind by a kill
        return False
    except OSError as error:
        raise OperatorError(
            "ADMIN_SOCKET", f"cannot use {path}", str(error), "run this as the node's user", exit_code=1
        ) from error
    return True


async def _knock(config: Config) -> None:
    with short_path(config.data_path / SOCKET_NAME) as name:
        _, writer = await asyncio.wait_for(asyncio.open_unix_connection(name), OPENING_SECONDS)
        writer.close()
        await writer.wait_closed()


def ask_node(
    config: Config,
    method: str,
    route: str,
    body: dict[str, Any] | None = None,
    line: Callable[[dict[str, Any]], None] = lambda found: None,
) -> dict[str, Any]:
    """The node's answer; ``line`` gets each object of an answer that comes in lines. Raises ``OperatorError``."""
    try:
        return asyncio.run(_ask(config, method, route, body, line))
    except (OSError, aiohttp.ClientError) as error:
        raise OperatorError(
            "NODE_UNREACHABLE",
            f"the node of {config.home} went away in the middle of it",
            str(error),
            "see its log",
            exit_code=Exit.NOT_REACHABLE.value,
        ) from error


async def _ask(
    config: Config,
    method: str,
    route: str,
    body: dict[str, Any] | None,
    line: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with short_path(config.data_path / SOCKET_NAME) as name:
        timeout = aiohttp.ClientTimeout(total=None)
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=name), timeout=timeout) as session,
            session.request(method, f"http://node{route}", json=body) as response,
        ):
            if response.content_type == "application/x-ndjson":
                async for raw in response.content:
                    found = json.loads(raw)
                    if "done" not in found and "error" not in found:
                        line(found)
            else:
                found = await response.json()
    if "error" in found:
        raise OperatorError(**found["error"])
    done: dict[str, Any] = found.get("done", found)
    return done
