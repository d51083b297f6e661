"""A coroutine begun at once: only one that has to wait becomes a task (Python 3.12's eager tasks, for 3.11).

Most of what a block sets in motion (its check, its execution, the beginning of its batch) waits for nothing. As a task
it would cost two turns of the event loop and come behind whatever else is ready.

Rules of this file

* Until it waits the coroutine runs in its caller, and what it raises then is raised there. It may not ask for the
  current task before it has waited.
* Whoever spawns owns the task, as ever.
"""

from collections.abc import Callable, Coroutine, Generator
from typing import Any


class _Begun(Coroutine[Any, Any, None]):
    """A coroutine whose first step was taken: it hands on what that step waits for, and then goes on."""

    def __init__(self, work: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._work = work
        self._waits_for = waits_for

    def send(self, value: Any) -> Any:
        waits_for, self._waits_for = self._waits_for, None
        return self._work.send(value) if waits_for is None else waits_for

    def throw(self, *error: Any) -> Any:
        self._waits_for = None
        return self._work.throw(*error)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, None]:
        if self._waits_for is not None:
            yield self._waits_for
        yield from self._work.__await__()


def begin(work: Coroutine[Any, Any, None], spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
    """Run ``work`` until it waits for something; the rest is given to ``spawn``."""
    try:
        waits_for = work.send(None)
    except StopIteration:
        return
    spawn(work if waits_for is None else _Begun(work, waits_for))
