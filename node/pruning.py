"""Pruning: bodies and receipts of old blocks are given up, headers and certificates stay (NODE §2).

Rules of this file

* Kept in full: the blocks of the last validity window, for they decide which transactions are duplicates, and
  never fewer than ``KEEP_BLOCKS_MIN``. Validator sets, headers, certificates and transitions are never pruned: evidence
  is checked against them, and light clients walk them.
* Deleting frees nothing; ``compact`` afterwards does. What it freed is measured, not estimated.
* Batches are small and go through the owner's writer, so a running node commits blocks in between.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final

from ledger.errors import OperatorError
from ledger.limits import VALIDITY_WINDOW_MS
from ledger.store import Batch, Reader

from .blockstore import BlockReader, body_space, delete_content

KEEP_BLOCKS_MIN: Final = 16
BLOCKS_A_BATCH: Final = 64


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a pruning did. ``first_kept`` is the lowest height whose block is here in full."""

    first_kept: int
    blocks: int
    freed_bytes: int


def first_kept(reader: Reader, keep_blocks: int) -> int:
    """The lowest height to keep when ``keep_blocks`` are asked for. Raises ``OperatorError`` EMPTY_DATABASE."""
    blocks = BlockReader(reader)
    head = blocks.head()
    newest = None if head is None else blocks.header(head.height)
    if head is None or newest is None:
        raise OperatorError("EMPTY_DATABASE", "the database is empty", "", "start the node first")
    height = max(1, head.height - max(keep_blocks, KEEP_BLOCKS_MIN) + 1)
    while height > 1:
        header = blocks.header(height)
        if header is None or header.time_ms < newest.time_ms - VALIDITY_WINDOW_MS:
            break
        height -= 1
    return height


def deletions(reader: Reader, first: int) -> Iterator[tuple[int, Batch]]:
    """Batches that give up what lies below ``first``, with the number of blocks in each."""
    batch, count = Batch(), 0
    for height in BlockReader(reader).content_heights(below=first):
        delete_content(batch, reader, height)
        count += 1
        if count == BLOCKS_A_BATCH:
            yield count, batch
            batch, count = Batch(), 0
    if count:
        yield count, batch


async def prune(
    snapshot: Reader,
    keep_blocks: int,
    *,
    write: Callable[[Batch], Awaitable[None]],
    compact: Callable[[bytes, bytes], Awaitable[None]],
    size: Callable[[], int],
) -> Pruned:
    """Give up the content of old blocks through ``write``, compact, and say what it freed."""
    before, first, pruned = size(), first_kept(snapshot, keep_blocks), 0
    for count, batch in deletions(snapshot, first):
        await write(batch)
        pruned += count
    if pruned:
        await compact(*body_space())
    return Pruned(first, pruned, max(0, before - size()))
