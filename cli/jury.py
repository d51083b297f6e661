"""``huzhu jury``: disputes and their juries, and a juror's hidden ballot.

``commit`` first writes vote and salt into a file of the juror's own, durably, and only then sends the commitment: a
ballot whose salt is lost can never be opened. ``reveal`` needs nothing but that file and the juror's key.
"""

import json
import secrets
from pathlib import Path
from typing import Any, Final

import click

from ledger import transactions as tx
from ledger.errors import OperatorError
from ledger.jury import Vote, commitment
from ledger.limits import SALT_BYTES
from node.private_file import create_private, read_private

from .client import ask, node_option
from .output import output_option
from .reads import after_option, limit_option, show_one, show_page
from .signing import key_option, say_executed, send_one
from .steps import EXCLUSIONS, Step, add_steps, argument, number, word

FORMAT: Final = "huzhu-ballot-1"
_FIELDS: Final = {
    "format": str,
    "chain_id": str,
    "claim": int,
    "dispute": int,
    "member": int,
    "juror": int,
    "vote": str,
    "salt": str,
    "commitment": str,
}
_FILE: Final = click.Path(path_type=Path, dir_okay=False)


@click.group()
def jury() -> None:
    """Disputes, juries and ballots."""


@jury.command("list")
@click.option("--claim", "claim_id", type=click.IntRange(min=0))
@after_option
@limit_option
@node_option
@output_option
def list_(claim_id: int | None, after: int | None, limit: int, node: str) -> None:
    """Disputes, one a line."""
    columns = ("id", "claim", "kind", "stage", "outcome", "panel", "clear", "refuse")
    show_page(node, "/v1/disputes", "disputes", columns, claim=claim_id, after=after, limit=limit)


@jury.command()
@click.option("--member", type=click.IntRange(min=0))
@after_option
@limit_option
@node_option
@output_option
def jurors(member: int | None, after: int | None, limit: int, node: str) -> None:
    """Members who passed the jurors' exam."""
    columns = ("id", "member", "exam_day", "open_cases")
    show_page(node, "/v1/jurors", "jurors", columns, member=member, after=after, limit=limit)


@jury.command()
@click.argument("dispute_id", type=click.IntRange(min=0))
@node_option
@output_option
def show(dispute_id: int, node: str) -> None:
    """A dispute: who objects, who was drawn or rejected and why, the ballots, whether the rules give this draw."""
    show_one(node, f"/v1/disputes/{dispute_id}", leave_out=("ballots",))


add_steps(
    jury,
    (
        Step(
            "register",
            tx.PassExam,
            ("juror",),
            "PLATFORM: MEMBER, who has his own key, passed the jurors' exam today.",
            {"member": argument("member")},
        ),
        Step(
            "exclude",
            tx.ExcludeJuror,
            ("juror",),
            "Any organisation, before the draw: a member may not judge CLAIM.",
            {"member": number("member", "The juror's member id."), "reason": word("reason", EXCLUSIONS, "Why.")},
        ),
    ),
)


# ---- a juror's ballot ------------------------------------------------------------------------------------------------


@jury.command()
@click.argument("claim_id", type=click.IntRange(min=0))
@click.option("--member", type=click.IntRange(min=0), required=True, help="The juror's member id.")
@click.option("--vote", type=click.Choice([vote.name.lower() for vote in Vote]), required=True)
@click.option("--ballot", "out", type=_FILE, required=True, help="The file that keeps vote and salt for `reveal`.")
@key_option
@node_option
@output_option
def commit(claim_id: int, member: int, vote: str, out: Path, key_path: Path, node: str) -> None:
    """Hide a vote: written into --ballot first, then its hash is sent."""
    if out.exists():
        raise OperatorError(
            "BALLOT_EXISTS",
            f"there is a ballot at {out} already",
            "it may be the only one that opens what was committed",
            "reveal it, or name another --ballot",
            exit_code=2,
        )
    dispute, juror, chain_id = ask(node, lambda client: _seat(client, claim_id, member))
    salt = secrets.token_bytes(SALT_BYTES)
    hidden = commitment(dispute, juror, Vote[vote.upper()], salt)
    ballot = {
        "format": FORMAT,
        "chain_id": chain_id,
        "claim": claim_id,
        "dispute": dispute,
        "member": member,
        "juror": juror,
        "vote": vote,
        "salt": salt.hex(),
        "commitment": hidden.hex(),
    }
    create_private(out, json.dumps(ballot, indent=2) + "\n")
    done = send_one(node, key_path, tx.CommitBallot(member, claim_id, hidden))
    say_executed(done, ballot=done.detail[0], dispute=dispute, juror=juror, file=str(out))


async def _seat(client: Any, claim_id: int, member: int) -> tuple[int, int, str]:
    """(dispute, juror, chain id). Raises ``OperatorError`` NO_JURY, NOT_A_JUROR."""
    claim = await client.get(f"/v1/claims/{claim_id}")
    if claim["state"] != "JURY":
        raise OperatorError(
            "NO_JURY", f"claim {claim_id} is {claim['state']}", "no jury votes on it now", "", exit_code=1
        )
    dispute = await client.get(f"/v1/disputes/{claim['dispute']}")
    known = (await client.get("/v1/jurors", member=member))["jurors"]
    if not known or known[0]["id"] not in dispute["drawn"]:
        raise OperatorError(
            "NOT_ON_THE_JURY", f"member {member} was not drawn for claim {claim_id}", "", "", exit_code=1
        )
    status = await client.get("/v1/status")
    return int(claim["dispute"]), known[0]["id"], str(status["chain_id"])


@jury.command()
@click.argument("ballot", type=_FILE)
@key_option
@node_option
@output_option
def reveal(ballot: Path, key_path: Path, node: str) -> None:
    """Open the BALLOT that `commit` wrote, in the reveal window: only then does it count."""
    kept = read_ballot(ballot)
    status = ask(node, lambda client: client.get("/v1/status"))
    if status["chain_id"] != kept["chain_id"]:
        raise OperatorError(
            "WRONG_CHAIN", f"the ballot is of chain {kept['chain_id'][:16]}…", f"{node} is of another", "", exit_code=2
        )
    body = tx.RevealBallot(kept["member"], kept["claim"], Vote[kept["vote"].upper()], bytes.fromhex(kept["salt"]))
    done = send_one(node, key_path, body)
    say_executed(done, dispute=kept["dispute"], clear=done.detail[0], refuse=done.detail[1])


def read_ballot(path: Path) -> dict[str, Any]:
    """The content of a ballot's file, which opens its commitment. Raises ``OperatorError``."""
    try:
        found = json.loads(read_private(path, "ballot"))
    except (ValueError, RecursionError) as error:
        raise _bad(path, "it is not JSON") from error
    if not isinstance(found, dict) or set(found) != set(_FIELDS):
        raise _bad(path, f"its fields are not {', '.join(_FIELDS)}")
    if any(type(found[name]) is not kind for name, kind in _FIELDS.items()) or found["format"] != FORMAT:
        raise _bad(path, "a field has the wrong type, or the format is not known")
    try:
        vote, salt = Vote[found["vote"].upper()], bytes.fromhex(found["salt"])
        opened = commitment(found["dispute"], found["juror"], vote, salt).hex()
    except (KeyError, ValueError, OverflowError) as error:
        raise _bad(path, "a field is not what it should be") from error
    if len(salt) != SALT_BYTES or opened != found["commitment"]:
        raise _bad(path, "vote and salt do not open its commitment")
    return found


def _bad(path: Path, why: str) -> OperatorError:
    return OperatorError(
        "BAD_BALLOT", f"{path} is no ballot", why, "use the file that `jury commit` wrote", exit_code=2
    )
