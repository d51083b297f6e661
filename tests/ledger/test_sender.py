"""Who may send what: every role with every body (LEDGER §2)."""

from typing import Any

import pytest
from msgspec.structs import replace

from ledger import transactions as tx
from ledger.actions import RunOffPlan
from ledger.errors import TransactionRejected
from ledger.organisations import OrganisationState
from ledger.roles import Role
from ledger.rows import Organisation
from ledger.sender import Sender, authorise
from ledger.state import BlockContext, State
from ledger.store import Overlay
from ledger.transactions import Transaction
from tests.ledger.chain import START_DAY, Chain, genesis_values, key, organisation

OUTSIDERS = tuple(organisation(role.name.lower(), role, validates=role is Role.BANK) for role in Role if role.name)
"""One organisation of each role: platform, bank, assessor, hospital, regulator."""

BODIES: dict[str, tuple[Any, set[str]]] = {
    # body -> the roles that may send it, written by hand from LEDGER §2
    "Enrol": (tx.Enrol(0, bytes(32), 0, b""), {"platform"}),
    "EnrolBatch": (tx.EnrolBatch(0, ()), {"platform"}),
    "Exit": (tx.Exit(0), {"platform", "member"}),
    "ExitBatch": (tx.ExitBatch(0, ()), {"platform"}),
    "FileClaim": (tx.FileClaim(0, 1, 1, 0, 1, 1, bytes(32), bytes(16)), {"platform", "member"}),
    "Diagnose": (tx.Diagnose(0, bytes(32)), {"hospital"}),
    "Assess": (tx.Assess(0, bytes(32)), {"assessor"}),
    "Review": (tx.Review(0, 0), {"assessor"}),
    "Pay": (tx.Pay(0, 1, b"x"), {"bank"}),
    "ConfirmPayment": (tx.ConfirmPayment(0, b"x", True), {"bank"}),
    "SponsorPeriod": (tx.SponsorPeriod(0, 1), {"platform"}),
    "SponsorPayment": (tx.SponsorPayment(0, 1, b"x"), {"bank"}),
    "Collect": (tx.Collect(0, 1, 0, 0, (), 0), {"platform"}),
    "ConfirmCollection": (tx.ConfirmCollection(0, 1, b"x"), {"bank"}),
    "Contribution": (tx.Contribution(0, (1,), 1, b"x"), {"bank"}),
    "PayFee": (tx.PayFee(0, 1, b"x"), {"bank"}),
    "Advance": (tx.Advance(0, 1, False, b"x"), {"bank"}),
    "PayRefund": (tx.PayRefund(0, 1, b"x"), {"bank"}),
    "RotateMemberKey": (tx.RotateMemberKey(0, bytes(32)), {"platform", "member"}),
    "ReportDeath": (tx.ReportDeath(0, 1), {"platform"}),
    "SuspendMember": (tx.SuspendMember(0, True), {"platform", "regulator"}),
    "ExpelMember": (tx.ExpelMember(0), {"regulator"}),
    "RefundSurplus": (tx.RefundSurplus(0, 1, 1, b"x"), {"bank"}),
    "Propose": (tx.Propose(RunOffPlan(0)), {"platform", "bank", "assessor"}),
    "VoteFor": (tx.VoteFor(0), {"platform", "bank", "assessor"}),
    "Veto": (tx.Veto(0), {"regulator"}),
    "FreezePlan": (tx.FreezePlan(0, True), {"regulator"}),
    "AttestBalance": (tx.AttestBalance(0, 1, 1), {"bank"}),
    "AskDocuments": (tx.AskDocuments(0), {"assessor"}),
    "GiveDocuments": (tx.GiveDocuments(0, 0, bytes(32), bytes(16)), {"platform", "member"}),
    "Withdraw": (tx.Withdraw(0, 0), {"platform", "member"}),
    "Appeal": (tx.Appeal(0, 0, bytes(16)), {"platform", "member"}),
    "Opinion": (tx.Opinion(0, 0), {"bank", "assessor", "hospital", "regulator"}),
    "HoldClaim": (tx.HoldClaim(0), {"assessor", "regulator"}),
    "FreeClaim": (tx.FreeClaim(0), {"assessor", "regulator"}),
    "RejectClaim": (tx.RejectClaim(0, 1), {"assessor", "regulator"}),
    "CourtOrder": (tx.CourtOrder(0, bytes(32)), {"regulator"}),
    "ClawBack": (tx.ClawBack(0, bytes(32)), {"regulator"}),
    "RecoverAid": (tx.RecoverAid(0, 1, b"x"), {"bank"}),
    "WriteOffAid": (tx.WriteOffAid(0, bytes(32)), {"regulator"}),
    "ObjectTo": (tx.ObjectTo(0, 0, bytes(16)), {"member"}),
    "PassExam": (tx.PassExam(0), {"platform"}),
    "ExcludeJuror": (tx.ExcludeJuror(0, 0, 8), {"platform", "bank", "assessor", "hospital", "regulator"}),
    "CommitBallot": (tx.CommitBallot(0, 0, bytes(32)), {"member"}),
    "RevealBallot": (tx.RevealBallot(0, 0, 1, bytes(16)), {"member"}),
    "RotateKey": (tx.RotateKey(bytes(32)), {"platform", "bank", "assessor", "hospital", "regulator"}),
    "SetNodes": (tx.SetNodes((), ""), {"platform", "bank", "assessor", "hospital", "regulator"}),
    "NoteAccess": (tx.NoteAccess(0, 1), {"platform", "bank", "assessor", "hospital", "regulator"}),
    "AdvanceClock": (tx.AdvanceClock(2**52), {"clock"}),
}
SIGNERS = ("platform", "bank", "assessor", "hospital", "regulator", "member", "clock")


def chain() -> Chain:
    made = Chain(genesis_values(organisations=OUTSIDERS))
    birth_month = 1990 * 12
    made.ok("member", tx.Enrol(0, bytes(32), birth_month, key("member")))
    made.ok("other member", tx.Enrol(0, bytes(31) + b"1", birth_month, key("other member")))
    return made


CHAIN = chain()


def state() -> State:
    return State(Overlay(CHAIN.store), BlockContext(bytes(32), 9, 9, START_DAY, bytes(32), bytes(64)))


def transaction(name: str, body: Any) -> Transaction:
    return Transaction(1, body, key(name), 0, bytes(16), bytes(64))


def code(made: State, name: str, body: Any) -> str:
    try:
        authorise(made, transaction(name, body))
    except TransactionRejected as error:
        return error.code
    return "OK"


def test_the_table_of_this_test_names_every_body() -> None:
    assert {type(body) for body, _ in BODIES.values()} == set(tx.TransactionBody.__args__)


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("name", SIGNERS)
def test_every_role_sends_what_the_table_says_and_nothing_else(name: str, kind: str) -> None:
    body, allowed = BODIES[kind]
    if name in allowed:
        expected = "OK"
    elif name == "clock":
        expected = "UNKNOWN_SIGNER"
    else:
        expected = "NOT_PERMITTED"
    assert code(state(), name, body) == expected


@pytest.mark.parametrize("kind", [kind for kind in BODIES if kind != "AdvanceClock"])
def test_a_stranger_sends_nothing(kind: str) -> None:
    assert code(state(), "stranger", BODIES[kind][0]) == "UNKNOWN_SIGNER"


def test_a_person_joins_with_the_key_that_signs() -> None:
    assert code(state(), "stranger", tx.Enrol(0, bytes(32), 0, key("stranger"))) == "OK"
    assert code(state(), "stranger", tx.Enrol(0, bytes(32), 0, key("member"))) == "UNKNOWN_SIGNER"


def test_a_members_key_acts_for_that_member_only() -> None:
    filing = tx.FileClaim(1, 1, 1, 0, 1, 1, bytes(32), bytes(16))
    for body in (tx.Exit(1), tx.Exit(99), filing):
        assert code(state(), "member", body) == "NOT_PERMITTED"
        assert code(state(), "other member", body) == ("NOT_PERMITTED" if body == tx.Exit(99) else "OK")


def test_the_sender_is_told_apart() -> None:
    assert authorise(state(), transaction("bank", tx.PayFee(0, 1, b"x"))) == Sender(key("bank"), organisation=1)
    member = authorise(state(), transaction("member", tx.Exit(0)))
    assert member == Sender(key("member"), member=0)
    assert member.signer == key("member")
    assert Sender(key("bank"), organisation=1).signer == 1


@pytest.mark.parametrize(
    ("standing", "expected"),
    [(OrganisationState.SUSPENDED, "SIGNER_SUSPENDED"), (OrganisationState.REMOVED, "UNKNOWN_SIGNER")],
)
def test_a_suspended_or_removed_organisation_sends_nothing(standing: OrganisationState, expected: str) -> None:
    made = state()
    made.put(1, replace(made.get(Organisation, 1), state=int(standing)))
    assert code(made, "bank", tx.PayFee(0, 1, b"x")) == expected
    assert code(made, "bank", tx.Exit(0)) == expected


def test_a_key_that_was_rotated_away_sends_nothing() -> None:
    made = state()
    made.put(1, replace(made.get(Organisation, 1), key=key("new bank")))
    assert code(made, "bank", tx.PayFee(0, 1, b"x")) == "UNKNOWN_SIGNER"
