"""``huzhu rollback``: take the newest blocks of a stopped node back; they come again from its peers (LEDGER §1).

For a node whose newest block it must execute once more: a program with a mended bug, a database of which its operator
is not sure. A decided block stays decided, and the signing record stays as it is: at that height this validator says
nothing that it has not said. The consortium's own roll-back, to go on with other blocks, is `huzhu recover`.

A validator that decides alone decides its newest block again from its record; deeper it is refused: nobody has them.
"""

from pathlib import Path
from typing import Any

import click

from ledger.errors import OperatorError
from ledger.genesis import Genesis
from ledger.store import Reader
from node.blockstore import BlockReader
from node.config import Config, load
from node.keys import list_keys
from node.resume import view_of
from node.rollback import DroppedBlock, above, take_back

from .init import home_option
from .output import console, listing, output_option, table
from .stopped import stopped_database


@click.command()
@home_option
@click.option("--to", type=click.IntRange(min=0), default=None, help="The new head.  [default: one below the head]")
@click.option("--yes", is_flag=True, help="Do it; without it, the blocks are listed only.")
@output_option
def rollback(home: Path, to: int | None, yes: bool) -> None:
    """Undo the newest block of the stopped node in HOME: state, indexes and block. It is fetched and executed again.

    A node remembers how to undo its newest blocks only; further back, use `huzhu reset`.
    """
    config = load(home)
    with stopped_database(config) as (store, genesis):
        head = BlockReader(store).head()
        if head is None or head.height == 0:
            raise OperatorError("NO_BLOCKS", "the database holds no block yet", "", "`huzhu start`", exit_code=1)
        height = head.height - 1 if to is None else to
        if height < head.height - 1 and _decides_alone(config, store, genesis):
            raise OperatorError(
                "DECIDES_ALONE",
                f"the blocks above {height} would be taken back, and no other validator has them",
                f"this one signs nothing below block {head.height} again: the chain would stand still",
                "take back the newest block alone, which its record decides again; or, when an observer has them all, "
                "`huzhu reset`",
                exit_code=1,
            )
        if not yes:
            raise _not_confirmed(above(store, height), height)
        dropped = take_back(store, height)
        left = BlockReader(store).head()
    if left is None:
        raise OperatorError("CORRUPT_DATABASE", "the head is gone", "", "`huzhu doctor`", exit_code=6)
    data: dict[str, Any] = {
        "height": left.height,
        "hash": left.hash.hex(),
        "state_root": left.state_root.hex(),
        "dropped": [_shown(block) for block in dropped],
        "next": f"huzhu start --home {home}: the blocks come again from the peers",
    }
    lines = [tuple(_shown(block).values()) for block in dropped]
    short = {name.replace("_", " "): value for name, value in data.items() if name != "dropped"}
    console().result(data, f"{listing(short)}\n\ntaken back:\n{table(('height', 'hash', 'transactions'), lines)}")


def _decides_alone(config: Config, store: Reader, genesis: Genesis) -> bool:
    """Whether the next block needs nobody but the validator of this home."""
    following = {entry.validator_key for entry in view_of(store, genesis)[0].next_validators}
    own = {card.public for _, card in list_keys(config.keys_path)}
    return len(following) == 1 and (following <= own or bool(config.signer.socket))


def _not_confirmed(blocks: list[DroppedBlock], height: int) -> OperatorError:
    listed = ", ".join(f"{block.height} {block.hash.hex()[:16]}" for block in blocks) or "none"
    return OperatorError(
        "NOT_CONFIRMED",
        f"the blocks above {height} would be taken back: {listed}",
        "they come again from the peers only if a peer has them",
        f"huzhu rollback --to {height} --yes",
        exit_code=2,
    )


def _shown(block: DroppedBlock) -> dict[str, Any]:
    return {"height": block.height, "hash": block.hash.hex(), "transactions": block.transactions}
