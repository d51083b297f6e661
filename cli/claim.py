"""``huzhu claim``: file a claim, or see where one stands."""

import secrets
from datetime import date
from pathlib import Path

import click

from ledger import transactions as tx
from ledger.calendar import day_from_civil
from ledger.limits import SALT_BYTES
from ledger.params import ACCIDENT, ILLNESS

from .client import ask, node_option
from .output import console, listing, output_option
from .signing import key_option, parse_hex, say_executed, send_one
from .status import flat

FINGERPRINT_BYTES = 32
CAUSES = {"illness": ILLNESS, "accident": ACCIDENT}


@click.group()
def claim() -> None:
    """File a claim, or show one."""


def day_number(text: str) -> int:
    """Days since 1970-01-01 of YYYY-MM-DD; raises ``click.BadParameter``."""
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not YYYY-MM-DD", param_hint="--diagnosis-day") from error
    return day_from_civil(day.year, day.month, day.day)


@claim.command("file")
@click.option("--member", "member_id", type=click.IntRange(min=0), required=True)
@click.option("--tier", type=click.IntRange(1, 255), required=True, help="Of the plan: 1 serious, 2 mild.")
@click.option("--illness", type=click.IntRange(min=0), required=True, help="Code of the illness catalogue.")
@click.option("--cause", type=click.Choice(list(CAUSES)), default="illness", show_default=True)
@click.option("--diagnosis-day", "day", required=True, metavar="YYYY-MM-DD")
@click.option("--region", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--fingerprint", default=None, metavar="HEX", help="Keyed hash of the event, 32 bytes; default: random.")
@key_option
@node_option
@output_option
def file_(
    member_id: int,
    tier: int,
    illness: int,
    cause: str,
    day: str,
    region: int,
    fingerprint: str | None,
    key_path: Path,
    node: str,
) -> None:
    """Ask for help. Signed by the platform, or by the member with his own key."""
    event = secrets.token_bytes(FINGERPRINT_BYTES)
    if fingerprint is not None:
        event = parse_hex(fingerprint, "--fingerprint", FINGERPRINT_BYTES)
    salt = secrets.token_bytes(SALT_BYTES)
    body = tx.FileClaim(member_id, tier, illness, CAUSES[cause], day_number(day), region, event, salt)
    done = send_one(node, key_path, body)
    say_executed(done, claim=done.detail[0], amount_fen=done.detail[1], salt=salt.hex())


@claim.command()
@click.argument("claim_id", type=click.IntRange(min=0))
@node_option
@output_option
def show(claim_id: int, node: str) -> None:
    """Where the claim stands, who has it, and until when."""
    answer = ask(node, lambda client: client.get(f"/v1/claims/{claim_id}"))
    console().result(answer, listing(flat(answer)))
