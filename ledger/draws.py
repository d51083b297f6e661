"""Draws by the beacon (LEDGER §7): who investigates is fixed by blocks that come *after* the draw was opened.

All that one block wants drawn shares one ``Draw`` row. Each following block mixes in its beacon:
``running' = SHA-256(running ‖ beacon)``, from 32 zero bytes. The draw closes at the end of the block in which f + 1
distinct creators and ``draw_blocks`` blocks have contributed; ``running`` is then its seed, and a claim's own seed is
``SHA-256(running ‖ claim id)``. An open draw changes the root with every block, so blocks stay due until it closes.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from .beacon import Drawer
from .rows import Draw
from .state import Index, State, StateReader, u64

START: Final = bytes(32)


def request(state: State) -> int:
    """The draw of this block, opened if need be; returns its id."""
    newest = state.length(Draw) - 1
    draw = state.find(Draw, newest)
    if draw is not None and draw.opened_height == state.block.height:
        return newest
    draw_id = state.append(Draw(state.block.height, 0, (), START, 0))
    state.index_put(Index.OPEN_DRAW, u64(draw_id))
    return draw_id


def contribute(state: State, creators_min: int, blocks_min: int) -> list[tuple[int, bytes]]:
    """Mix this block's beacon into every draw opened before; returns (id, seed) of those that close, ascending.

    ``creators_min`` is f + 1 of V(height).
    """
    closed: list[tuple[int, bytes]] = []
    for key, _ in state.index_scan(Index.OPEN_DRAW):
        draw_id = int.from_bytes(key, "big")
        draw = state.get(Draw, draw_id)
        if draw.opened_height == state.block.height:
            continue
        creators = tuple(sorted({*draw.creators, state.block.creator}))
        running = sha256(draw.running + state.block.beacon).digest()
        done = draw.blocks + 1 >= blocks_min and len(creators) >= creators_min
        closed_height = state.block.height if done else 0
        state.put(draw_id, Draw(draw.opened_height, draw.blocks + 1, creators, running, closed_height))
        if done:
            state.index_delete(Index.OPEN_DRAW, key)
            closed.append((draw_id, running))
    return closed


def mixed_in(state: StateReader, height: int) -> tuple[int, ...]:
    """The draws into which block ``height``, the newest of ``state``, was mixed, ascending.

    An older draw has all that a newer one has, and so never closes after it.
    """
    found: list[int] = []
    for draw_id in reversed(range(state.length(Draw))):
        draw = state.get(Draw, draw_id)
        if draw.closed_height not in (0, height):
            break
        if draw.opened_height < height:
            found.append(draw_id)
    return tuple(reversed(found))


def waiting(state: State, draw_id: int) -> list[int]:
    """Claims that wait for a draw, ascending."""
    return [int.from_bytes(key[8:], "big") for key, _ in state.index_scan(Index.DRAW, u64(draw_id))]


def running_of(beacons: Sequence[bytes]) -> bytes:
    """The running hash of a draw from the beacons of the blocks that contributed, in order: from headers alone."""
    running = START
    for beacon in beacons:
        running = sha256(running + beacon).digest()
    return running


def seed_of(running: bytes, claim_id: int) -> bytes:
    """A claim's own seed of a closed draw."""
    return sha256(running + u64(claim_id)).digest()


def pick(seed: bytes, claim_id: int, candidates: Sequence[int]) -> int:
    """The one of ``candidates`` (ascending) that a closed draw's seed names for a claim."""
    return candidates[Drawer(seed_of(seed, claim_id)).below(len(candidates))]
