"""``huzhu member``: enrol, show, statement, exit. A member is an insured person, known by a keyed hash only."""

import secrets
from pathlib import Path

import click

from ledger import transactions as tx
from ledger.statement import Statement
from node.keys import KeyKind, read_key

from .client import ask, node_option
from .output import console, listing, output_option
from .prooffile import from_height_option, out_option, write_file
from .signing import key_option, parse_hex, say_executed, send_one
from .status import flat

IDENTITY_BYTES = 32


@click.group()
def member() -> None:
    """Enrol a member, show one with his bill, write his statement, let one exit."""


def birth_month(text: str) -> int:
    """``year·12 + month - 1`` of YYYY-MM; raises ``click.BadParameter``."""
    year, _, month = text.partition("-")
    if not (year.isdecimal() and month.isdecimal() and len(year) == 4 and 1 <= int(month) <= 12):
        raise click.BadParameter(f"{text!r} is not YYYY-MM", param_hint="--birth-month")
    return int(year) * 12 + int(month) - 1


@member.command()
@click.option("--plan", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--birth-month", "born", required=True, metavar="YYYY-MM")
@click.option("--identity", default=None, metavar="HEX", help="Keyed hash of the person, 32 bytes; default: random.")
@click.option(
    "--member-key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Key file of a member who wants to act himself; only its public half is used.",
)
@key_option
@node_option
@output_option
def enrol(plan: int, born: str, identity: str | None, member_key: Path | None, key_path: Path, node: str) -> None:
    """Join a plan. Signed by the platform, or by the member with his own key."""
    name = (
        secrets.token_bytes(IDENTITY_BYTES) if identity is None else parse_hex(identity, "--identity", IDENTITY_BYTES)
    )
    own = b"" if member_key is None else read_key(member_key, KeyKind.MEMBER).public
    done = send_one(node, key_path, tx.Enrol(plan, name, birth_month(born), own))
    say_executed(done, member=done.detail[0], identity=name.hex(), first_period=done.detail[1])


@member.command()
@click.argument("member_id", type=click.IntRange(min=0))
@click.option("--prove", is_flag=True, help="With a proof of his row.")
@node_option
@output_option
def show(member_id: int, prove: bool, node: str) -> None:
    """His state, his cover, his bill."""
    query = {"prove": "true"} if prove else {}
    answer = ask(node, lambda client: client.get(f"/v1/members/{member_id}", **query))
    console().result(answer, listing(flat(answer)))


@member.command()
@click.argument("member_id", type=click.IntRange(min=0))
@out_option
@from_height_option
@node_option
@output_option
def statement(member_id: int, out: Path, from_height: int | None, node: str) -> None:
    """Write everything that proves his bill into one file, for `huzhu verify statement`."""
    write_file(node, f"/v1/members/{member_id}/statement", Statement, out, from_height)


@member.command("exit")
@click.argument("member_id", type=click.IntRange(min=0))
@key_option
@node_option
@output_option
def exit_(member_id: int, key_path: Path, node: str) -> None:
    """Leave the plan; a period that is already noticed is still shared."""
    done = send_one(node, key_path, tx.Exit(member_id))
    say_executed(done, member=member_id, first_period_free=done.detail[0])
