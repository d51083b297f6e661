"""What the event loop does where it would only wait: a small part of the work that others have too much of.

Of two processes on two cores each step is as fast as the slower one: while a node catches up, what the loop's own work
leaves of a core verifies signatures beside the verifier's process (``node.verifier.Verifier.verify_part``).
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

Work = Callable[[], bool]
"""Does one part of some work, a millisecond of it at most; false: there is nothing to do."""


def nothing() -> bool:
    """No work."""
    return False


async def meanwhile(awaited: asyncio.Future[T], work: Work) -> T:
    """The result of ``awaited``; until it is there, ``work`` is done as long as there is any. Raises what it raises.

    After each part everything else of the loop has its turn.
    """
    while not awaited.done():
        if not work():
            break
        await asyncio.sleep(0)
    return await awaited
