"""What one event makes us write to several links leaves at the end of that event, and not in a later turn of the loop.

A turn of the loop costs two looks at the selector, and between two of them other events are served first. Without a
``Turn`` around it, what is sent leaves in the next turn, gathered in one write all the same.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType


class Turn:
    """``with`` it around the handling of one event. Entered again inside itself it is harmless."""

    __slots__ = ("_depth", "_waiting")

    def __init__(self) -> None:
        self._depth = 0
        self._waiting: deque[Callable[[], None]] = deque()

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if not self._depth:
            self.end()

    def at_the_end(self, write: Callable[[], None]) -> None:
        """Call ``write`` when the event is handled; outside of one in the loop's next turn. It may not raise."""
        if self._depth:
            self._waiting.append(write)
        else:
            asyncio.get_running_loop().call_soon(write)

    def end(self) -> None:
        """Write now: what follows of the event takes long."""
        while self._waiting:
            self._waiting.popleft()()
