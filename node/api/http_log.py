"""What aiohttp says of connections, as events of the node's own log.

It would write a traceback for each request that is not HTTP, between the lines that machines read, for anybody who
sends one. That is the client's fault, counted and for the curious only; whatever else ends a request is an error.
"""

import logging
from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ..logs import Log

_OF_THE_CLIENT: Final = (HttpProcessingError, web.RequestPayloadError, ConnectionError, UnicodeError)
"""(aiohttp repeats an Expect it does not know, whatever bytes it has. What our handlers raise comes by ``on_bug``.)"""


class _Events(logging.Handler):
    def __init__(self, log: Log, malformed: Callable[[], None]) -> None:
        super().__init__()
        self._log = log
        self._malformed = malformed

    def emit(self, record: logging.LogRecord) -> None:
        """One line an event; never a traceback."""
        error = record.exc_info[1] if record.exc_info else None
        why = " ".join(str(error).split())
        if isinstance(error, _OF_THE_CLIENT):
            self._malformed()
            self._log.debug("not HTTP", said=record.getMessage(), why=why)
        elif record.levelno >= logging.WARNING:
            self._log.error("a request failed", said=record.getMessage(), error=f"{type(error).__name__}: {why}")


def http_logger(log: Log, malformed: Callable[[], None] = lambda: None) -> logging.Logger:
    """A logger for ``web.AppRunner``. ``malformed()`` is called for each request that is not HTTP."""
    logger = logging.Logger("http", logging.DEBUG)
    logger.addHandler(_Events(log, malformed))
    return logger
