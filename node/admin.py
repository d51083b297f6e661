"""Administration of a running node over a Unix socket in its data directory, for its owner only (NODE §2).

What needs the open database or the inside of the process: a backup, a pruning, what a defect report needs. Reading and
submitting are the public API's.

Rules of this file

* The socket's mode is 0600: whoever may use it could read the keys as well. Nothing here signs anything.
* One long job at a time; a second one is told so. A job ends with the node and leaves nothing half done.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from ledger.errors import OperatorError, PeerError
from ledger.store import Batch
from p2p.requests import RequestRefused

from .api.answers import answer, plain
from .backup import back_up
from .config import KEYS, Config
from .copying import PACE
from .pruning import prune
from .storage import LevelStore
from .unix_socket import bound

SOCKET_NAME: Final = "admin.sock"
SOCKET_MODE: Final = 0o600
BODY_BYTES_MAX: Final = 65_536
BUSY: Final = OperatorError("BUSY", "the node does another long job", "one at a time", "wait for it", exit_code=5)


class Admin:
    """The socket of one node. ``start`` binds, ``stop`` ends the job that runs; both are the node's to call."""

    def __init__(
        self,
        config: Config,
        store: LevelStore,
        *,
        write: Callable[[Batch], Awaitable[None]],
        facts: Callable[[], dict[str, Any]],
        answer_question: Callable[[bytes], Awaitable[bytes]],
        logger: logging.Logger,
    ) -> None:
        """``facts`` are what a defect report says of the running node; ``write`` is the database's one writer.

        ``answer_question`` answers a question of the sync class, as a peer's; ``logger`` gets what aiohttp says.
        """
        self._config = config
        self._store = store
        self._write = write
        self._facts = facts
        self._answer_question = answer_question
        self._job = asyncio.Lock()
        self._stop = threading.Event()
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_post("/backup", self._backup)
        app.router.add_post("/prune", self._prune)
        app.router.add_get("/debug", self._debug)
        app.router.add_post("/question", self._question)
        self._runner = web.AppRunner(app, access_log=None, logger=logger, shutdown_timeout=1.0)

    async def start(self) -> None:
        """Bind. Raises ``OperatorError`` ADMIN_SOCKET."""
        await self._runner.setup()
        path = self._config.data_path / SOCKET_NAME
        try:
            await web.SockSite(self._runner, bound(path, SOCKET_MODE)).start()
        except OSError as error:
            await self._runner.cleanup()
            raise OperatorError(
                "ADMIN_SOCKET", f"cannot listen on {path}", str(error), "check the data directory", exit_code=1
            ) from error

    async def stop(self) -> None:
        """End the job that runs, then the socket."""
        self._stop.set()
        await self._runner.cleanup()
        async with self._job:  # a copy in its thread ends at its next batch
            _remove(self._config.data_path / SOCKET_NAME)

    # ---- jobs ----

    @asynccontextmanager
    async def _only(self) -> AsyncIterator[None]:
        if self._job.locked():
            raise BUSY
        async with self._job:
            yield

    async def _backup(self, request: web.Request) -> web.StreamResponse:
        """Lines of JSON: progress, then the manifest or an error."""
        target = Path(str((await _asked(request)).get("target", "")))
        loop = asyncio.get_running_loop()
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        lines: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(maxsize=1)

        def progress(keys: int, size: int) -> None:
            loop.call_soon_threadsafe(_offer, lines, {"keys": keys, "bytes": size})

        async def copy() -> dict[str, Any]:
            try:
                async with self._only():
                    if not target.is_absolute():
                        raise OperatorError("USAGE", "the target must be an absolute path", "", "", exit_code=2)
                    with self._store.snapshot() as snapshot:
                        manifest = await asyncio.to_thread(
                            back_up, self._config, snapshot, target, pace=PACE, stop=self._stop, progress=progress
                        )
            except OperatorError as error:
                return _said(error)
            return {"done": plain(manifest)}

        async with asyncio.TaskGroup() as tasks:  # waits for the copy, whoever is still there to read of it
            copying = tasks.create_task(copy())
            copying.add_done_callback(lambda _: _offer(lines, None))
            try:
                while not copying.done() or not lines.empty():
                    line = await lines.get()
                    if line is not None:
                        await response.write(json.dumps(line).encode() + b"\n")
                await response.write(json.dumps(copying.result()).encode() + b"\n")
            except ConnectionError:  # the client has gone away: that is nobody's error
                pass
        return response

    async def _prune(self, request: web.Request) -> web.StreamResponse:
        """Give up the content of old blocks."""
        keep = (await _asked(request)).get("keep_blocks")
        if type(keep) is not int or keep < 0:
            return answer(_said(OperatorError("USAGE", "keep_blocks must be a number", "", "", exit_code=2)), 400)
        try:
            async with self._only():
                with self._store.snapshot() as snapshot:
                    pruned = await prune(
                        snapshot,
                        keep,
                        write=self._write,
                        compact=lambda start, stop: asyncio.to_thread(self._store.compact, start, stop),
                        size=self._store.approximate_size,
                    )
        except OperatorError as error:
            return answer(_said(error), 409)
        return answer({"done": plain(pruned)})

    async def _question(self, request: web.Request) -> web.StreamResponse:
        """A question of the sync class, for a snapshot into a directory: its bytes in, the answer's bytes out."""
        try:
            return web.Response(body=await self._answer_question(await request.read()))
        except RequestRefused as refusal:
            return answer({"code": refusal.code}, 409)
        except PeerError as error:
            return answer({"code": error.code}, 400)

    async def _debug(self, request: web.Request) -> web.StreamResponse:
        """What a defect report needs of the inside: settings, tasks, threads, status, peers, metrics. No secrets."""
        frames = sys._current_frames()
        threads = {
            thread.name: traceback.format_stack(frames[thread.ident])
            for thread in threading.enumerate()
            if thread.ident in frames
        }
        tasks = {task.get_name(): repr(task.get_coro()) for task in asyncio.all_tasks()}
        return answer(
            {
                "configuration": settings(self._config),
                "tasks": tasks,
                "threads": threads,
                "database_bytes": self._store.approximate_size(),
                **self._facts(),
            }
        )


def settings(config: Config) -> dict[str, Any]:
    """Every configuration key with its value. None is a secret: keys and passphrases lie in files of their own."""
    values = {}
    for name in KEYS:
        section, _, key = name.partition(".")
        values[name] = plain(getattr(getattr(config, section), key))
    return values


def _said(error: OperatorError) -> dict[str, Any]:
    fields = ("code", "what", "why", "next", "exit_code")
    return {"error": {name: getattr(error, name) for name in fields}}


def _offer(lines: asyncio.Queue[dict[str, Any] | None], line: dict[str, Any] | None) -> None:
    """Put the newest line into a queue of one: progress that nobody read yet is out of date."""
    if lines.full():
        lines.get_nowait()
    lines.put_nowait(line)


async def _asked(request: web.Request) -> dict[str, Any]:
    try:
        found = await request.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
