"""``huzhu recover``: begin a new epoch after the quorum was lost (CONSENSUS §6). A file goes from operator to operator.

`propose` on a survivor, `sign` by each organisation, `show` whenever in doubt, `apply` on every node, stopped. Keys
never leave their machines: the file holds public halves and signatures.
"""

from pathlib import Path
from typing import Any, Final

import click

from ledger.blocks import RecoveryRecord
from ledger.errors import OperatorError
from node import recover as recovery
from node.config import load
from node.keys import KeyKind, read_key
from node.private_file import replace_private
from node.recover import Judged, NewSeat, read_file, render

from .init import home_option
from .output import console, listing, output_option, table

GONE: Final = (
    "The head that is kept must be the highest certified one among the survivors: compare `huzhu status` of each. "
    "Blocks above it that only lost machines held are gone, also those that were acknowledged to clients."
)
file_argument = click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))


@click.group("recover")
def recover() -> None:
    """Begin a new epoch when too many validators are lost for ever, or when the consortium agrees to roll back."""


@recover.command("propose")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--keep", multiple=True, type=int, help="Seat that goes on with its keys; may be repeated.")
@click.option(
    "--seat",
    "seats",
    multiple=True,
    metavar="SEAT:VALIDATOR_KEY:BEACON_KEY",
    help="Seat that gets other keys; may be repeated.",
)
@click.option(
    "--new",
    multiple=True,
    metavar="ORGANISATION:VALIDATOR_KEY:BEACON_KEY",
    help="Seat for an organisation that has none; may be repeated.",
)
@home_option
@output_option
def propose(file: Path, keep: tuple[int, ...], seats: tuple[str, ...], new: tuple[str, ...], home: Path) -> None:
    """Write FILE: the head of the stopped node in HOME, and the complete validator set that goes on from it."""
    named = [*map(_existing, seats), *map(_fresh, new)]
    record = recovery.draft(load(home), keep, named)
    if file.exists():
        raise OperatorError("FILE_EXISTS", f"{file} exists", "a record may be in other hands already", "name another")
    file.write_text(render(record))
    _say(
        record, {"written": str(file), "next": f"each organisation: `huzhu recover sign {file} --key ORGANISATION.key`"}
    )


@recover.command("sign")
@file_argument
@click.option(
    "--key",
    "key_file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The organisation's key file.",
)
@output_option
def sign(file: Path, key_file: Path) -> None:
    """Add an organisation's signature to FILE."""
    record = recovery.sign(read_file(file), read_key(key_file, KeyKind.ORGANISATION).secret)
    replace_private(file, render(record))
    _say(record, {"written": str(file), "signatures": len(record.signatures)})


@recover.command("show")
@file_argument
@home_option
@output_option
def show(file: Path, home: Path) -> None:
    """What FILE says, whose seats stand behind it, and what applying it to the stopped node in HOME would drop."""
    record = read_file(file)
    _say(record, _judged(recovery.judge(load(home), record)))


@recover.command("apply")
@file_argument
@click.option("--drop-blocks", is_flag=True, help="Drop the blocks of HOME above the head that FILE names.")
@home_option
@output_option
def apply(file: Path, drop_blocks: bool, home: Path) -> None:
    """Put FILE in force in HOME, whose node is stopped. Start it afterwards; all that apply it go on together."""
    record = read_file(file)
    found = recovery.apply(load(home), record, drop=drop_blocks)
    _say(record, {**_judged(found), "next": f"huzhu start --home {home}"})


def _say(record: RecoveryRecord, more: dict[str, Any]) -> None:
    data: dict[str, Any] = {
        "epoch": record.epoch,
        "head_height": record.head_height,
        "head_hash": record.head_hash.hex(),
        "validators": [
            {"seat": entry.seat, "organisation": entry.organisation, "validator_key": entry.validator_key.hex()}
            for entry in record.validators
        ],
        **more,
        "warning": GONE,
    }
    rows = [(str(entry.seat), str(entry.organisation), entry.validator_key.hex()) for entry in record.validators]
    short = {name: value for name, value in data.items() if name not in ("validators", "dropped")}
    text = f"{listing(short)}\n\n{table(('seat', 'organisation', 'validator key'), rows)}"
    if more.get("dropped"):
        gone = [(str(block["height"]), block["hash"], str(block["transactions"])) for block in more["dropped"]]
        text += f"\n\nblocks of this home above the head:\n{table(('height', 'hash', 'transactions'), gone)}"
    console().result(data, text)


def _judged(found: Judged) -> dict[str, Any]:
    return {
        "signed_seats": list(found.standing.signed),
        "seats_needed": found.standing.wanted,
        "counts": found.standing.enough and not found.fault,
        "applied": found.applied,
        "fault": found.fault,
        "dropped": [
            {"height": block.height, "hash": block.hash.hex(), "transactions": block.transactions}
            for block in found.dropped
        ],
    }


def _existing(text: str) -> NewSeat:
    name, validator_key, beacon_key = _parts(text)
    if not name.isdigit():
        raise click.BadParameter(f"{name!r} is not the number of a seat", param_hint="--seat")
    return NewSeat(int(name), "", validator_key, beacon_key)


def _fresh(text: str) -> NewSeat:
    name, validator_key, beacon_key = _parts(text)
    return NewSeat(None, name, validator_key, beacon_key)


def _parts(text: str) -> tuple[str, bytes, bytes]:
    name, *keys = text.rsplit(":", 2)
    try:
        validator_key, beacon_key = map(bytes.fromhex, keys)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not NAME:VALIDATOR_KEY:BEACON_KEY, the keys in hexadecimal") from error
    return name, validator_key, beacon_key
