"""``huzhu org``: the organisations of the consortium: who they are, who applies, what is proposed about them.

Everything about another organisation is a proposal (``gov``). Its own key an organisation replaces by itself. An
application is the signed card of ``genesis card``: nobody can apply with a key that he does not hold.
"""

from pathlib import Path
from typing import Any, Final

import click

from ledger import actions
from ledger import transactions as tx
from ledger.cards import parse_card
from ledger.errors import OperatorError
from ledger.organisations import OrganisationState

from .client import node_option
from .genesis import card, parse_roles
from .gov import approve, send_proposal
from .output import output_option
from .reads import after_option, limit_option, show_page
from .signing import key_option, say_executed, send_one
from .steps import Step, add_steps, public_half, public_key, read_file

_ID: Final = click.IntRange(min=0)
_FILE: Final = click.Path(path_type=Path, dir_okay=False)


@click.group()
def org() -> None:
    """Organisations: list, apply, propose, approve, promote, suspend, remove."""


@org.command("list")
@after_option
@limit_option
@node_option
@output_option
def list_(after: int | None, limit: int, node: str) -> None:
    """Every organisation with its roles and state."""
    columns = ("id", "name", "roles", "state", "address")
    show_page(node, "/v1/organisations", "organisations", columns, after=after, limit=limit)


org.add_command(
    click.Command(
        "apply",
        callback=card.callback,
        params=card.params,
        help="Write this organisation's signed card: its application, which a member's `huzhu org propose` takes.",
    )
)


@org.command()
@click.argument("application", type=_FILE)
@key_option
@node_option
@output_option
def propose(application: Path, key_path: Path, node: str) -> None:
    """Propose to admit the organisation of an APPLICATION, the card that it signed."""
    found = parse_card(read_file(application))
    action = actions.AdmitOrganisation(found.name, int(found.roles), found.key, found.node_keys, found.address)
    send_proposal(node, key_path, action)


org.add_command(approve)


def _set_state(verb: str, state: OrganisationState, about: str) -> None:
    @org.command(verb, help=about)
    @click.argument("organisation", type=_ID)
    @key_option
    @node_option
    @output_option
    def propose_state(organisation: int, key_path: Path, node: str) -> None:
        send_proposal(node, key_path, actions.SetOrganisation(organisation, int(state)))


_set_state("suspend", OrganisationState.SUSPENDED, "Propose that ORGANISATION may send nothing until it is reinstated.")
_set_state("reinstate", OrganisationState.ACTIVE, "Propose that a suspended ORGANISATION is active again.")
_set_state("remove", OrganisationState.REMOVED, "Propose to remove ORGANISATION for ever; it holds no seat any more.")


@org.command()
@click.argument("organisation", type=_ID)
@click.option("--roles", required=True, metavar="ROLE,ROLE", help="All that it does from then on.")
@key_option
@node_option
@output_option
def roles(organisation: int, roles: str, key_path: Path, node: str) -> None:
    """Propose what ORGANISATION does from then on."""
    send_proposal(node, key_path, actions.SetRoles(organisation, int(parse_roles(roles))))


@org.command()
@click.argument("organisation", type=_ID)
@click.option("--card", "card_file", type=_FILE, help="Its card, which names both keys.")
@click.option("--validator-key", metavar="FILE|HEX", help="Or its validator's key,")
@click.option("--beacon-key", metavar="FILE|HEX", help="and its beacon's.")
@click.option("--force", is_flag=True, help="Also while one more is a third of the validators.")
@key_option
@node_option
@output_option
def promote(
    organisation: int,
    card_file: Path | None,
    validator_key: str | None,
    beacon_key: str | None,
    force: bool,
    key_path: Path,
    node: str,
) -> None:
    """Propose a validator's seat for ORGANISATION, in force two blocks after it is enacted."""
    keys = _seat_keys(card_file, validator_key, beacon_key)
    send_proposal(node, key_path, actions.AddValidator(organisation, *keys, force))


def _seat_keys(card_file: Path | None, validator_key: str | None, beacon_key: str | None) -> tuple[bytes, bytes]:
    if card_file is not None and validator_key is None and beacon_key is None:
        seat = parse_card(read_file(card_file)).validator
        if seat is None:
            why = "it is of an organisation without a validator"
            raise OperatorError("CARD_INVALID", str(card_file), why, "ask for a card made beside the validator's keys")
        return seat.validator_key, seat.beacon_key
    if card_file is None and validator_key is not None and beacon_key is not None:
        return public_key(validator_key, "--validator-key"), public_key(beacon_key, "--beacon-key")
    raise click.UsageError("name either --card, or both --validator-key and --beacon-key")


@org.command()
@click.argument("seat", type=_ID)
@click.option("--force", is_flag=True, help="Also when fewer than four remain.")
@key_option
@node_option
@output_option
def demote(seat: int, force: bool, key_path: Path, node: str) -> None:
    """Propose that SEAT votes no more; its organisation may observe."""
    send_proposal(node, key_path, actions.RemoveValidator(seat, force))


@org.command("replace-key")
@click.argument("organisation", type=_ID)
@click.option("--new-key", required=True, metavar="FILE|HEX", help="The organisation's new key.")
@key_option
@node_option
@output_option
def replace_key(organisation: int, new_key: str, key_path: Path, node: str) -> None:
    """Propose another key for an ORGANISATION that has lost its own."""
    send_proposal(node, key_path, actions.ReplaceKey(organisation, public_key(new_key, "--new-key")))


_NEW_KEY: Final[dict[str, Any]] = {
    "key": public_half("new_key", "--new-key", "The new key; its secret half is not used.")
}
add_steps(
    org,
    (
        Step(
            "rotate-key",
            tx.RotateKey,
            ("organisation",),
            "Replace the key that signs this with another one, at once: the old one is unknown from then on.",
            _NEW_KEY,
        ),
    ),
)


@org.command()
@click.option("--node-key", "node_keys", multiple=True, help="A node's link key, hexadecimal, or the file of one.")
@click.option("--address", default="", metavar="HOST:PORT", help="Where others dial it, when it is one node.")
@key_option
@node_option
@output_option
def nodes(node_keys: tuple[str, ...], address: str, key_path: Path, node: str) -> None:
    """Name the nodes of the organisation that signs, at once and completely: these, and no others.

    To change a node's key: name the old and the new one, start the node with the new one, then name that alone.
    """
    keys = tuple(public_key(text, "--node-key") for text in node_keys)
    done = send_one(node, key_path, tx.SetNodes(keys, address))
    say_executed(done, organisation=done.detail[0], nodes=[key.hex() for key in keys], address=address)
