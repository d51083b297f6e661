"""``huzhu gov``: what the organisations decide together (LEDGER §2).

A proposal needs two thirds of those with a vote; then the regulator has a week to object; then it is done by itself.
``org`` and ``plan`` have a command for each common proposal; ``propose`` takes any action.
"""

from pathlib import Path
from typing import Any, Final

import click

from ledger import transactions as tx
from ledger.actions import Action, ActivateProtocol
from ledger.proposals import ProposalState

from .client import node_option
from .output import output_option
from .reads import after_option, limit_option, show_one, show_page
from .signing import key_option, say_executed, send_one
from .steps import Step, add_steps
from .tx import parse_json

COLUMNS: Final = ("id", "action", "state", "proposer", "in_favour", "due_ms", "code")


@click.group()
def gov() -> None:
    """Proposals: what the organisations decide together."""


@gov.command("list")
@click.option("--state", type=click.Choice([state.name for state in ProposalState], case_sensitive=False))
@after_option
@limit_option
@node_option
@output_option
def list_(state: str | None, after: int | None, limit: int, node: str) -> None:
    """Proposals, one a line."""
    show_page(node, "/v1/proposals", "proposals", COLUMNS, state=state, after=after, limit=limit)


@gov.command()
@click.argument("proposal_id", type=click.IntRange(min=0))
@node_option
@output_option
def show(proposal_id: int, node: str) -> None:
    """A proposal, who is in favour, how many are needed, and until when."""
    show_one(node, f"/v1/proposals/{proposal_id}")


@gov.command()
@click.argument("action")
@key_option
@node_option
@output_option
def propose(action: str, key_path: Path, node: str) -> None:
    """Propose ACTION, and vote for it.

    ACTION is the JSON array of its name and fields, byte strings as "0x...": '["run_off_plan", 0]'.
    """
    send_proposal(node, key_path, parse_json(action, Action, "ACTION"))


@gov.command()
@click.argument("version", type=click.IntRange(min=2))
@click.option("--height", type=click.IntRange(min=1), required=True, help="First block of that version.")
@key_option
@node_option
@output_option
def upgrade(version: int, height: int, key_path: Path, node: str) -> None:
    """Propose VERSION of the protocol from a height on, and vote for it.

    Every node must run a release that speaks it by then: one that does not stops before that block.
    """
    send_proposal(node, key_path, ActivateProtocol(version, height))


def send_proposal(node: str, key_path: Path, action: Any) -> None:
    """Propose an action, and say what became of it."""
    done = send_one(node, key_path, tx.Propose(action))
    say_executed(done, proposal=done.detail[0], state=ProposalState(done.detail[1]).name)


def _vote(verb: str, about: str) -> click.Command:
    @click.command(verb, help=about)
    @click.argument("proposal_id", type=click.IntRange(min=0))
    @key_option
    @node_option
    @output_option
    def vote(proposal_id: int, key_path: Path, node: str) -> None:
        done = send_one(node, key_path, tx.VoteFor(proposal_id))
        say_executed(done, proposal=done.detail[0], state=ProposalState(done.detail[1]).name)

    return vote


vote_for: Final = _vote("vote", "Be in favour of a proposal. Who is not says nothing.")
approve: Final = _vote("approve", "Be in favour of a proposal about an organisation: the same as `gov vote`.")
gov.add_command(vote_for)
add_steps(gov, (Step("veto", tx.Veto, ("proposal",), "REGULATOR: object to a proposal before it is enacted."),))
