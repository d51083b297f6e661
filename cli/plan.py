"""``huzhu plan``: the plans of the chain: parameters, accounts, what comes next; what is decided, paid and attested."""

from pathlib import Path
from typing import Any, Final

import click

from ledger import actions
from ledger import transactions as tx
from ledger.genesis import parse_plan
from ledger.references import PaymentKind

from .claim import day_number
from .client import ask, node_option
from .gov import send_proposal
from .output import console, listing, output_option
from .reads import after_option, limit_option, show_one, show_page
from .signing import key_option
from .status import flat
from .steps import Field, Step, add_steps, fixed, number, read_file

_ID: Final = click.IntRange(min=0)


@click.group()
def plan() -> None:
    """The plans of the chain: parameters, accounts, decisions, payments."""


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
@click.argument("plan_id", type=_ID)
@node_option
@output_option
def show(plan_id: int, node: str) -> None:
    """One plan with the parameters in force."""
    answer = ask(node, lambda client: client.get(f"/v1/plans/{plan_id}"))
    console().result(answer, listing(flat(answer)))


@plan.command()
@click.argument("plan_id", type=_ID)
@click.option("--after", type=_ID, help="Begin after this period.")
@limit_option
@node_option
@output_option
def settlements(plan_id: int, after: int | None, limit: int, node: str) -> None:
    """The periods of a plan that were noticed, one a line."""
    columns = ("period", "date", "stage", "claims", "aid_fen", "shares", "upper_bound", "charged_fen")
    show_page(node, "/v1/settlements", "settlements", columns, plan=plan_id, after=after, limit=limit)


@plan.command()
@click.argument("plan_id", type=_ID)
@click.argument("period", type=_ID)
@node_option
@output_option
def settlement(plan_id: int, period: int, node: str) -> None:
    """One period of a plan: counts, aid, fee, carry, shares, collection."""
    show_one(node, f"/v1/settlements/{plan_id}/{period}")


@plan.command()
@click.option("--plan", "plan_id", type=_ID)
@after_option
@limit_option
@node_option
@output_option
def attestations(plan_id: int | None, after: int | None, limit: int, node: str) -> None:
    """What banks say that plans' accounts hold, and the difference to the journal."""
    columns = ("id", "plan", "bank", "day", "balance_fen", "cash_fen", "difference_fen")
    show_page(node, "/v1/attestations", "attestations", columns, plan=plan_id, after=after, limit=limit)


@plan.command()
@click.option("--kind", type=click.Choice([kind.name for kind in PaymentKind], case_sensitive=False))
@click.option("--subject", type=_ID, help="Claim, collection, member or plan, by kind.")
@after_option
@limit_option
@node_option
@output_option
def payments(kind: str | None, subject: int | None, after: int | None, limit: int, node: str) -> None:
    """What the bank said that it paid or received, each under a reference used once."""
    columns = ("id", "kind", "subject", "amount_fen", "reference")
    show_page(node, "/v1/payments", "payments", columns, kind=kind, subject=subject, after=after, limit=limit)


# ---- decisions -------------------------------------------------------------------------------------------------------


@plan.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--plan", "plan_id", type=_ID, help="Another version of this plan; default: the file is a new plan.")
@click.option("--effective-day", metavar="YYYY-MM-DD", help="From when the version is in force: later than today.")
@key_option
@node_option
@output_option
def propose(file: Path, plan_id: int | None, effective_day: str | None, key_path: Path, node: str) -> None:
    """Propose the plan of FILE (as in configs/), or its parameters as a new version of a plan."""
    if (plan_id is None) != (effective_day is None):
        raise click.UsageError("a version needs both --plan and --effective-day, a new plan neither")
    found = parse_plan(read_file(file).decode("utf-8", "replace"))
    action: Any = actions.OpenPlan(found.name, found.params)
    if plan_id is not None and effective_day is not None:
        action = actions.AddPlanVersion(plan_id, day_number(effective_day, "--effective-day"), found.params)
    send_proposal(node, key_path, action)


@plan.command("run-off")
@click.argument("plan_id", type=_ID)
@key_option
@node_option
@output_option
def run_off(plan_id: int, key_path: Path, node: str) -> None:
    """Propose that a plan takes no members any more and ends when nothing is open."""
    send_proposal(node, key_path, actions.RunOffPlan(plan_id))


# ---- steps -----------------------------------------------------------------------------------------------------------

_PAYMENT: Final = ("payment",)


def _day() -> Field:
    params = [click.Option(["--day"], required=True, metavar="YYYY-MM-DD", help="Of the bank's books.")]
    return Field(params, lambda values, _: day_number(values["day"], "--day"))


def _failures() -> Field:
    """Ids of those whose debit failed; the body holds their differences."""
    params = [click.Option(["--failed"], type=_ID, multiple=True, help="Id of a member whose debit failed.")]

    def read(values: dict[str, Any], _: dict[str, Any]) -> tuple[int, ...]:
        ids = [values["first"], *sorted(values["failed"])]
        return tuple(later - earlier for earlier, later in zip(ids, ids[1:], strict=False))

    return Field(params, read)


def _corrects() -> Field:
    params = [click.Option(["--corrects"], type=_ID, help="The collection that this one replaces.")]
    return Field(params, lambda values, _: 0 if values["corrects"] is None else values["corrects"] + 1)


add_steps(
    plan,
    (
        Step("freeze", tx.FreezePlan, ("plan",), "REGULATOR: PLAN stands still.", {"frozen": fixed(True)}),
        Step("unfreeze", tx.FreezePlan, ("plan",), "REGULATOR: PLAN goes on.", {"frozen": fixed(False)}),
        Step("sponsor", tx.SponsorPeriod, (), "PLATFORM: pay a period of PLAN before its notice; irrevocable."),
        Step("sponsor-paid", tx.SponsorPayment, _PAYMENT, "BANK: the sponsor's money arrived."),
        Step(
            "collect",
            tx.Collect,
            ("collection",),
            "PLATFORM: the debits of members --first to --last went through, but for those who --failed.",
            {
                "first": number("first", "First member id."),
                "last": number("last", "Last member id."),
                "failures": _failures(),
                "corrects": _corrects(),
            },
        ),
        Step(
            "collected",
            tx.ConfirmCollection,
            ("confirmed_fen",),
            "BANK: the money of a collected range arrived.",
            {"collection": number("collection", "Id of the collection.")},
        ),
        Step("pay-fee", tx.PayFee, _PAYMENT, "BANK: paid the platform's fee."),
        Step("pay-refund", tx.PayRefund, _PAYMENT, "BANK: paid refunds that PLAN owes."),
        Step("refund-surplus", tx.RefundSurplus, _PAYMENT, "BANK: sent back what a period collected too much."),
        Step("advance", tx.Advance, _PAYMENT, "BANK: the platform advanced cash.", {"repay": fixed(False)}),
        Step("repay", tx.Advance, _PAYMENT, "BANK: an advance was repaid.", {"repay": fixed(True)}),
        Step(
            "attest",
            tx.AttestBalance,
            ("attestation", "difference_fen", "bank_holds_less"),
            "BANK: what the account of PLAN held at the end of a day; the difference is published.",
            {"day": _day()},
        ),
    ),
)
