"""A member's card at the command line: an identity made of the person, and the file he is given (LEDGER §10)."""

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import click

from ledger.errors import OperatorError
from ledger.member_card import MemberCard, Opening, identity_of, opens, personal_key, render_member_card
from node.keys import KeyKind, read_key

from .client import NodeClient, ask, node_option
from .output import console, listing, output_option

person_option = click.option(
    "--person", default=None, metavar="TEXT", help="Who he is: his identity is made of it; it is never sent."
)
identity_key_option = click.option(
    "--identity-key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Key file of kind identity: the same person gets the same identity again.",
)


def opening_of(plan: int, person: str | None, key_file: Path | None) -> Opening | None:
    """How the identity of this person in this plan is opened; ``None`` when neither option was given."""
    if (person is None) != (key_file is None):
        raise click.UsageError("--person and --identity-key belong together")
    if person is None or key_file is None:
        return None
    return Opening(person, personal_key(read_key(key_file, KeyKind.IDENTITY).secret, plan, person))


def identity_opened_by(opening: Opening, plan: int) -> bytes:
    """The identity to enrol."""
    return identity_of(opening.key, plan, opening.person)


def write_card(path: Path, node: str, member_id: int, opening_in: Callable[[int], Opening | None]) -> dict[str, Any]:
    """Write the card of a member whose row the node has; what stands on it, for the result.

    ``opening_in`` gives the opening of his identity in a plan. Raises ``OperatorError``: MEMBER_CARD_INVALID when it is
    not that of his identity, CANNOT_WRITE. An existing file is never overwritten.
    """
    chain_id, row = ask(node, lambda client: _asked(client, member_id))
    plan, identity = int(row["plan"]), bytes.fromhex(row["identity"])
    opening = opening_in(plan)
    if opening is not None and not opens(opening, plan, identity):
        raise OperatorError(
            "MEMBER_CARD_INVALID",
            f"member {member_id} of plan {plan}",
            "his identity was made of other words, or with another identity key",
            "check --person and --identity-key",
        )
    raw = render_member_card(MemberCard(chain_id, plan, member_id, identity, opening))
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(raw)
    except OSError as error:
        advice = f"name another file: huzhu member card {member_id} --out FILE"
        raise OperatorError("CANNOT_WRITE", str(path), str(error), advice, exit_code=1) from error
    return {"card": str(path), "chain_id": chain_id.hex(), "opened": opening is not None}


async def _asked(client: NodeClient, member_id: int) -> tuple[bytes, dict[str, Any]]:
    found = await client.get(f"/v1/members/{member_id}")
    return sha256(await client.get_bytes("/v1/genesis")).digest(), found["row"]


@click.command("card")
@click.argument("member_id", metavar="MEMBER", type=click.IntRange(min=0))
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file to write.")
@person_option
@identity_key_option
@node_option
@output_option
def card(member_id: int, out: Path, person: str | None, identity_key: Path | None, node: str) -> None:
    """Write a member's card: chain, plan, number, identity, and its opening. It is for him alone."""
    written = write_card(out, node, member_id, lambda plan: opening_of(plan, person, identity_key))
    shown = {"member": member_id, **written}
    console().result(shown, listing(shown))
