"""Logs: readable lines on a terminal, JSON for machines; one logger object, passed to whoever writes (NODE §2).

WARN and ERROR are only for what an operator can act on. Nothing global is configured: each ``NodeLog`` has its own
destinations, so several nodes in one process do not mix.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol, TextIO

import structlog
from structlog.types import EventDict, FilteringBoundLogger, WrappedLogger

from ledger.errors import OperatorError

from .config import LogSection

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Log(Protocol):
    """What a part of the node writes to: an event in a few words, the particulars as keywords."""

    def debug(self, event: str, **particulars: Any) -> Any: ...
    def info(self, event: str, **particulars: Any) -> Any: ...
    def warning(self, event: str, **particulars: Any) -> Any: ...
    def error(self, event: str, **particulars: Any) -> Any: ...


def _plain(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Keys and hashes as hexadecimal; long ones are for JSON, people see the start (``_short``)."""
    return {key: value.hex() if isinstance(value, bytes) else value for key, value in event.items()}


def _short(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {key: value[:6].hex() + "…" if isinstance(value, bytes) else value for key, value in event.items()}


class _Destinations:
    """Writes each event to every destination in its own form; the logger behind the structlog wrapper."""

    def __init__(self, writers: list[tuple[TextIO, list[Any]]]) -> None:
        self._writers = writers
        self._lost = [0] * len(writers)

    def _write(self, **event: Any) -> None:
        for at, (stream, processors) in enumerate(self._writers):
            line: Any = dict(event)
            if self._lost[at]:
                line["lines_lost"] = self._lost[at]
            for processor in processors:
                line = processor(self, "", line)
            try:
                stream.write(line + "\n")
                stream.flush()
            except (
                OSError
            ):  # the log's disk is full: the node goes on, and the next line that fits says how many did not
                self._lost[at] += 1
            else:
                self._lost[at] = 0

    debug = info = warning = error = _write


class NodeLog:
    """The node's logger with its destinations; ``close`` it last."""

    def __init__(self, section: LogSection, path: Path | None, *, stream: TextIO = sys.stderr, name: str = "") -> None:
        """``stream`` gets what ``log.format`` says, ``path`` JSON lines. Raises ``OperatorError`` LOG_FILE."""
        self._file: TextIO | None = None
        on_terminal = section.format == "text" or (section.format == "auto" and stream.isatty())
        as_json = [_plain, structlog.processors.JSONRenderer(sort_keys=False, ensure_ascii=False, default=str)]
        as_text = [
            _short,
            structlog.dev.ConsoleRenderer(colors=stream.isatty() and "NO_COLOR" not in os.environ, pad_event_to=0),
        ]
        writers: list[tuple[TextIO, list[Any]]] = [(stream, as_text if on_terminal else as_json)]
        if path is not None:
            try:
                self._file = path.open("a", encoding="utf-8")
            except OSError as error:
                raise OperatorError(
                    "LOG_FILE", f"cannot write the log {path}", str(error), "check log.file and the directory"
                ) from error
            writers.append((self._file, as_json))
        logger: FilteringBoundLogger = structlog.wrap_logger(
            _Destinations(writers),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.StackInfoRenderer(),
                structlog.processors.format_exc_info,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(LEVELS[section.level]),
            context_class=dict,
            cache_logger_on_first_use=False,
        )
        self.log: Log = logger.bind(node=name) if name else logger

    def close(self) -> None:
        """Close the log file."""
        if self._file is not None:
            with suppress(OSError):  # what a full disk has refused
                self._file.close()


def summary(log: Log, status: dict[str, Any]) -> None:
    """The one line an interval: where the node is, in numbers."""
    log.info("summary", **{key: value for key, value in status.items() if value is not None})
