"""``huzhu claim``: file a claim, see where one stands, and take every step that somebody may take with it.

The steps are those of ``ledger.claim_table``; deadlines take theirs by themselves. ``docs/claims.md`` draws them all.
"""

import secrets
from datetime import date
from pathlib import Path
from typing import Final

import click

from ledger import transactions as tx
from ledger.calendar import day_from_civil
from ledger.claim_table import ClaimState
from ledger.limits import SALT_BYTES
from ledger.params import ACCIDENT, ILLNESS

from .client import node_option
from .output import output_option
from .reads import after_option, limit_option, show_one, show_page
from .signing import key_option, parse_hex, say_executed, send_one
from .steps import Step, add_steps, fixed

FINGERPRINT_BYTES = 32
CAUSES = {"illness": ILLNESS, "accident": ACCIDENT}


@click.group()
def claim() -> None:
    """File a claim, show claims, and take the steps of their life."""


def day_number(text: str, name: str = "--diagnosis-day") -> int:
    """Days since 1970-01-01 of YYYY-MM-DD; raises ``click.BadParameter``."""
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not YYYY-MM-DD", param_hint=name) from error
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
    say_executed(
        done, claim=done.detail[0], amount_fen=done.detail[1], same_event=list(done.detail[2:]), salt=salt.hex()
    )


# ---- looking ---------------------------------------------------------------------------------------------------------


@claim.command()
@click.argument("claim_id", type=click.IntRange(min=0))
@node_option
@output_option
def show(claim_id: int, node: str) -> None:
    """Where the claim stands, who has it, what it waits for and until when."""
    show_one(node, f"/v1/claims/{claim_id}")


@claim.command("list")
@click.option("--plan", type=click.IntRange(min=0))
@click.option("--member", type=click.IntRange(min=0))
@click.option("--period", type=click.IntRange(min=0))
@click.option("--state", type=click.Choice([state.name for state in ClaimState], case_sensitive=False))
@after_option
@limit_option
@node_option
@output_option
def list_(
    plan: int | None,
    member: int | None,
    period: int | None,
    state: str | None,
    after: int | None,
    limit: int,
    node: str,
) -> None:
    """Claims, one a line."""
    columns = ("id", "plan", "member", "state", "tier", "amount_fen", "period", "waits_for")
    query = {"plan": plan, "member": member, "period": period, "state": state, "after": after, "limit": limit}
    show_page(node, "/v1/claims", "claims", columns, **query)


@claim.command()
@click.argument("claim_id", type=click.IntRange(min=0))
@after_option
@limit_option
@node_option
@output_option
def papers(claim_id: int, after: int | None, limit: int, node: str) -> None:
    """The documents that the claimant gave, as commitments."""
    columns = ("id", "claim", "given_ms", "commitment")
    show_page(node, "/v1/evidence", "evidence", columns, claim=claim_id, after=after, limit=limit)


@claim.command("access-log")
@click.option("--claim", "claim_id", type=click.IntRange(min=0))
@click.option("--organisation", type=click.IntRange(min=0))
@after_option
@limit_option
@node_option
@output_option
def access_log(claim_id: int | None, organisation: int | None, after: int | None, limit: int, node: str) -> None:
    """Who opened whose papers, when and what for."""
    columns = ("id", "claim", "name", "purpose", "at_ms")
    query = {"claim": claim_id, "organisation": organisation, "after": after, "limit": limit}
    show_page(node, "/v1/access", "access", columns, **query)


@claim.command("doubles")
@after_option
@limit_option
@node_option
@output_option
def doubles(after: int | None, limit: int, node: str) -> None:
    """Events that were claimed in more than one plan."""
    show_page(node, "/v1/events", "events", ("id", "claim", "same_event"), after=after, limit=limit)


# ---- steps -----------------------------------------------------------------------------------------------------------

_AGREED: Final = ("claim", "agreed")
STEPS: Final = (
    Step("diagnose", tx.Diagnose, ("claim",), "HOSPITAL: the diagnosis, as a salted commitment."),
    Step("ask-documents", tx.AskDocuments, ("claim",), "ASSESSOR: more documents are needed; at most twice."),
    Step("give-documents", tx.GiveDocuments, ("claim",), "The claimant gives documents, as a salted commitment."),
    Step("assess", tx.Assess, ("claim",), "The drawn ASSESSOR: its report, as a salted commitment."),
    Step("review", tx.Review, ("claim",), "A second ASSESSOR clears the claim (reason 0), or refuses it."),
    Step("appeal", tx.Appeal, ("dispute",), "The claimant disputes a refusal, once."),
    Step("object", tx.ObjectTo, ("dispute", "objections"), "A member with his own key objects to a noticed claim."),
    Step("withdraw", tx.Withdraw, ("claim",), "The claimant takes the claim back, before a jury is drawn."),
    Step("opinion", tx.Opinion, ("claim", "opinions"), "An expert or the regulator, on a claim in expert review."),
    Step("hold", tx.HoldClaim, _AGREED, "ASSESSOR and REGULATOR, one each: hold it for fraud; once settled, stop it."),
    Step("free", tx.FreeClaim, _AGREED, "ASSESSOR and REGULATOR, one each: release it, or let it be paid again."),
    Step("reject", tx.RejectClaim, _AGREED, "ASSESSOR and REGULATOR, one each: refuse it for good."),
    Step("pay", tx.Pay, ("claim",), "BANK: the payment order went out."),
    Step(
        "paid",
        tx.ConfirmPayment,
        ("claim", "amount_fen"),
        "BANK: the claimant has the money.",
        {"paid": fixed(True)},
    ),
    Step(
        "bounced",
        tx.ConfirmPayment,
        ("claim", "amount_fen"),
        "BANK: the payment came back; it waits for another order.",
        {"paid": fixed(False)},
    ),
    Step("court-order", tx.CourtOrder, ("claim",), "REGULATOR: a judgment clears a refused or expired claim."),
    Step("claw-back", tx.ClawBack, ("claim", "amount_fen"), "REGULATOR: a judgment wants paid aid back."),
    Step("recover", tx.RecoverAid, ("claim", "recovered_fen"), "BANK: clawed-back money arrived."),
    Step("write-off", tx.WriteOffAid, ("claim", "missing_fen"), "REGULATOR: what is missing will not come."),
    Step("note-access", tx.NoteAccess, ("entry",), "Any organisation, before it reads the claim's papers."),
)
add_steps(claim, STEPS)
