"""A long run that may be stopped: an append-only file of what is done (``huzhu simulate --resume FILE``).

Rules of this file:

* One JSON object a line. The first names what is run: the options, and a fingerprint of every source that decides what
  a seed does. A file of other code or other options is refused: its results say nothing about these.
* A line is written and synced when its share of the work is done, never changed afterwards. A last line that was cut
  off in the middle is dropped, and that share is done again; damage anywhere else is refused.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from hashlib import sha256
from importlib import import_module
from os import cpu_count, fsync
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from ledger.errors import OperatorError

T = TypeVar("T")
OptionT = TypeVar("OptionT")
Done = dict[str, Any]

FORMAT: Final = 1
PACKAGES: Final = ("ledger", "consensus", "simulator")
"""Their sources, with ``node.mempool``, decide what a seed does."""


def fingerprint() -> str:
    """SHA-256 over the names and sources of everything that a simulated network runs."""
    found = sha256()
    for package in PACKAGES:
        root = _folder(package)
        for path in sorted(root.rglob("*.py")):
            found.update(f"{package}/{path.relative_to(root).as_posix()}\0".encode())
            found.update(sha256(path.read_bytes()).digest())
    found.update(sha256((_folder("node") / "mempool.py").read_bytes()).digest())
    return found.hexdigest()


def _folder(package: str) -> Path:
    return Path(str(import_module(package).__file__)).parent


class Progress:
    """What is done of one long run; ``done`` by the share's name. Use it as a context manager."""

    def __init__(self, path: Path, options: Mapping[str, Any]) -> None:
        """Open or begin ``path``. Raises ``OperatorError`` SIMULATION_RESUME when it is of another run, or damaged."""
        self._path = path
        self.done: dict[str, Done] = {}
        head = {"format": FORMAT, "code": fingerprint(), **options}
        try:
            path.touch()
            raw = path.read_bytes()
        except OSError as error:
            raise self._refused(str(error)) from error
        whole = raw[: raw.rfind(b"\n") + 1]
        self._read(whole, head)
        self._file = path.open("r+b")
        self._file.truncate(len(whole))
        self._file.seek(len(whole))
        if not whole:
            self._write(head)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, share: str, result: Done) -> None:
        """``share`` is done, durably."""
        self._write({"share": share, **result})
        self.done[share] = result

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        fsync(self._file.fileno())

    def _read(self, whole: bytes, head: Mapping[str, Any]) -> None:
        for number, raw in enumerate(whole.splitlines()):
            try:
                line = json.loads(raw)
            except ValueError as error:
                raise self._refused(f"line {number + 1} is damaged") from error
            if number == 0:
                self._compare(line, head)
            elif isinstance(line, dict) and isinstance(line.get("share"), str):
                self.done[line.pop("share")] = line
            else:
                raise self._refused(f"line {number + 1} is damaged")

    def _compare(self, found: Any, head: Mapping[str, Any]) -> None:
        if not isinstance(found, dict):
            raise self._refused("line 1 is damaged")
        for name in head:
            if found.get(name) != head[name]:
                raise self._refused(f"it is of a run with {name} = {found.get(name)}, this one has {head[name]}")

    def _refused(self, why: str) -> OperatorError:
        what = f"the progress file {self._path} cannot be gone on with"
        return OperatorError("SIMULATION_RESUME", what, why, "name another file, or go on with the code it was made by")


def work_off(
    work: Callable[[T, OptionT], Done],
    shares: Mapping[str, T],
    option: OptionT,
    options: Mapping[str, Any],
    *,
    processes: int | None = None,
    resume: Path | None = None,
) -> Iterator[Done]:
    """What ``work(share, option)`` gives for each share, first of those that ``resume`` holds, as they are done.

    ``options`` name the run in the file. ``processes``: None for one a core. Raises ``OperatorError``
    SIMULATION_RESUME.
    """
    with nullcontext() if resume is None else Progress(resume, options) as progress:
        done = {} if progress is None else progress.done
        yield from [done[name] for name in shares if name in done]
        for name, result in _work(work, {name: shares[name] for name in shares if name not in done}, option, processes):
            if progress is not None:
                progress.add(name, result)
            yield result


def _work(
    work: Callable[[T, OptionT], Done], shares: Mapping[str, T], option: OptionT, processes: int | None
) -> Iterator[tuple[str, Done]]:
    count = processes or cpu_count() or 1
    if count == 1 or len(shares) <= 1:
        for name, share in shares.items():
            yield name, work(share, option)
        return
    with ProcessPoolExecutor(count) as pool:
        running = {pool.submit(work, share, option): name for name, share in shares.items()}
        try:
            for future in as_completed(running):
                yield running.pop(future), future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
