"""``huzhu member``: a member is an insured person, known by a keyed hash only.

He joins and gets a card, pays, leaves; the platform reports his death; the regulator may suspend or expel him. His
statement is one file that anybody verifies offline.
"""

import secrets
from pathlib import Path
from typing import Any

import click

from ledger import transactions as tx
from ledger.statement import Statement
from node.keys import KeyKind, read_key

from .claim import day_number
from .client import ask, node_option
from .membercard import card as card_command
from .membercard import identity_key_option, identity_opened_by, opening_of, person_option, write_card
from .output import console, listing, output_option
from .prooffile import from_height_option, out_option, write_file
from .reads import after_option, limit_option, show_page
from .signing import key_option, parse_hex, say_executed, send_one
from .status import flat
from .steps import Field, Step, add_steps, argument, fixed, public_half

IDENTITY_BYTES = 32


@click.group()
def member() -> None:
    """Members: enrol, show, statement, exit; what they pay, and how their membership ends."""


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
@person_option
@identity_key_option
@click.option(
    "--card", type=click.Path(path_type=Path, dir_okay=False), help="Write his card there; it is for him alone."
)
@click.option(
    "--member-key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Key file of a member who wants to act himself; only its public half is used.",
)
@key_option
@node_option
@output_option
def enrol(
    plan: int,
    born: str,
    identity: str | None,
    person: str | None,
    identity_key: Path | None,
    card: Path | None,
    member_key: Path | None,
    key_path: Path,
    node: str,
) -> None:
    """Join a plan. Signed by the platform, or by the member with his own key."""
    if identity is not None and person is not None:
        raise click.UsageError("--identity or --person, not both")
    opening = opening_of(plan, person, identity_key)
    if opening is not None:
        name = identity_opened_by(opening, plan)
    elif identity is not None:
        name = parse_hex(identity, "--identity", IDENTITY_BYTES)
    else:
        name = secrets.token_bytes(IDENTITY_BYTES)
    own = b"" if member_key is None else read_key(member_key, KeyKind.MEMBER).public
    done = send_one(node, key_path, tx.Enrol(plan, name, birth_month(born), own))
    member_id = done.detail[0]
    carded = {} if card is None else write_card(card, node, member_id, lambda _: opening)
    say_executed(done, member=member_id, identity=name.hex(), first_period=done.detail[1], **carded)


member.add_command(card_command)


@member.command("list")
@after_option
@limit_option
@node_option
@output_option
def list_(after: int | None, limit: int, node: str) -> None:
    """Members, one a line."""
    columns = ("id", "plan", "state", "from_period", "to_period", "arrears_fen")
    show_page(node, "/v1/members", "members", columns, after=after, limit=limit)


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


def _day() -> Field:
    params = [click.Option(["--day"], required=True, metavar="YYYY-MM-DD", help="The day of the death.")]
    return Field(params, lambda values, _: day_number(values["day"], "--day"))


def _periods() -> Field:
    def read(values: dict[str, Any], _: dict[str, Any]) -> tuple[int, ...]:
        return tuple(sorted(values["periods"]))

    help_ = "Number of a half-month that is paid; the oldest that is owed comes first."
    params = [
        click.Option(["--period", "periods"], type=click.IntRange(min=0), multiple=True, required=True, help=help_)
    ]
    return Field(params, read)


_ABOUT = {"member": argument("member")}
add_steps(
    member,
    (
        Step(
            "contribute",
            tx.Contribution,
            ("due_fen", "arrears_fen", "carry_fen"),
            "BANK: MEMBER paid by himself exactly what he owes for some periods.",
            _ABOUT | {"periods": _periods()},
        ),
        Step(
            "rotate-key",
            tx.RotateMemberKey,
            ("acts_from_ms",),
            "Another key for MEMBER: by his own key at once; by the PLATFORM, when it is lost, after two weeks.",
            _ABOUT | {"member_key": public_half("new_key", "--new-key", "The new key; its secret half is not used.")},
        ),
        Step(
            "report-death",
            tx.ReportDeath,
            ("first_period_free", "refund_fen"),
            "PLATFORM: MEMBER died; what was charged since is undone.",
            _ABOUT | {"day": _day()},
        ),
        Step(
            "suspend",
            tx.SuspendMember,
            ("first_period_free",),
            "PLATFORM or REGULATOR: MEMBER is neither charged nor covered from now on.",
            _ABOUT | {"suspended": fixed(True)},
        ),
        Step(
            "lift",
            tx.SuspendMember,
            ("first_period",),
            "PLATFORM or REGULATOR: MEMBER is suspended no more.",
            _ABOUT | {"suspended": fixed(False)},
        ),
        Step("expel", tx.ExpelMember, ("first_period_free",), "REGULATOR: MEMBER is excluded for good.", _ABOUT),
    ),
)
