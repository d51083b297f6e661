"""The process around a node: its signals, and the nodes that follow one another in it (NODE §2)."""

import asyncio
import signal

from ledger.errors import InvariantViolation

from .allocator import give_large_blocks_back
from .app import Node
from .config import Config
from .file_limit import raise_file_limit


async def _run(config: Config) -> None:
    """One node after the other, until one ends that is not to be started anew."""
    loop = asyncio.get_running_loop()
    reopening = True
    while reopening:
        node = Node(config)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, node.stop)
        try:
            await node.run()
        except InvariantViolation as error:
            node.log.error("invariant violated", error=str(error), exc_info=error)
            raise
        reopening = node.reopening


def run(config: Config) -> int:
    """Run the node of ``config`` until SIGTERM or SIGINT; the exit status. Raises ``OperatorError``."""
    raise_file_limit(config)
    give_large_blocks_back()
    asyncio.run(_run(config))
    return 0
