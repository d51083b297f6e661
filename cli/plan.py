"""``huzhu plan``: the plans of the chain, their parameters, what comes next."""

import click

from .client import ask, node_option
from .output import console, listing, output_option
from .status import flat


@click.group()
def plan() -> None:
    """The plans of the chain and their parameters."""


@plan.command("list")
@node_option
@output_option
def list_(node: str) -> None:
    """Every plan with its next deadline."""
    answer = ask(node, lambda client: client.get("/v1/plans"))
    blocks = [
        listing(flat({key: value for key, value in found.items() if key != "params"})) for found in answer["plans"]
    ]
    console().result(answer, "\n\n".join(blocks) or "there is no plan")


@plan.command()
@click.argument("plan_id", type=click.IntRange(min=0))
@node_option
@output_option
def show(plan_id: int, node: str) -> None:
    """One plan with the parameters in force."""
    answer = ask(node, lambda client: client.get(f"/v1/plans/{plan_id}"))
    console().result(answer, listing(flat(answer)))
