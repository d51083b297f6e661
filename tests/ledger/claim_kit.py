"""Chains on which claims go other ways than the main one: members with own keys, small juries, few objectors."""

from functools import cache
from hashlib import sha256
from typing import Any

from msgspec.structs import replace

from ledger import transactions as tx
from ledger.claim_table import ClaimState
from ledger.disputes import Outcome, Stage
from ledger.genesis import GenesisPlan
from ledger.indexes import differences
from ledger.jury import Vote, commitment
from ledger.roles import Role
from ledger.rows import NONE, Account, Claim, Dispute, Juror
from tests.ledger.chain import ORGANISATIONS, PLAN_PARAMS, Chain, genesis_values, key, organisation
from tests.ledger.test_life import BIRTH_MONTH, CLAIMANT, HASH, MEMBERS, SALT, days, filing, state_of

KEYED = 24
"""Members with their own keys: ids from ``MEMBERS`` on, named "person 0" and so on."""
PARAMS = replace(PLAN_PARAMS, objectors_min=3, jury_panel=9, jury_quorum=5)
_NOTHING: dict[str, Any] = dict.fromkeys(Claim.__struct_fields__, 0)
_NOTHING |= dict.fromkeys(("held_from", "draw", "investigator", "review_draw", "reviewer", "hospital"), NONE)
_NOTHING |= dict.fromkeys(("dispute", "helped_from", "period"), NONE)
_NOTHING |= dict.fromkeys(("fingerprint", "salt", "report", "diagnosis", "judgment", "reference"), b"")
BLANK = Claim(**_NOTHING | {"passed_over": (), "consents": (), "objected": False})
"""A claim of which nothing was said and with which nothing has happened."""
EXTRA = (organisation("firm-c", Role.ASSESSOR), organisation("other bank", Role.BANK | Role.PLATFORM))


def person(number: int) -> int:
    """The member id of "person n"."""
    return MEMBERS + number


def enrolled(*, jurors: int = 0, case_cap_fen: int = PARAMS.case_cap_fen) -> Chain:
    """It is 2019-03-01, all have waited; the first ``jurors`` persons passed the exam long ago."""
    return _enrolled(jurors, case_cap_fen).fork()


@cache
def _enrolled(jurors: int, case_cap_fen: int) -> Chain:
    params = replace(PARAMS, case_cap_fen=case_cap_fen)
    plans = (GenesisPlan("main", params),)
    chain = Chain(genesis_values(plans=plans, organisations=(*ORGANISATIONS, *EXTRA)))
    people = tuple((sha256(f"custodial {number}".encode()).digest(), BIRTH_MONTH) for number in range(MEMBERS))
    assert chain.ok("platform", tx.EnrolBatch(0, people)) == (0, MEMBERS, 0)
    names = [f"person {number}" for number in range(KEYED)]
    joins = [(name, tx.Enrol(0, sha256(name.encode()).digest(), BIRTH_MONTH, key(name))) for name in names]
    assert set(chain.block(*joins).codes) == {"OK"}
    exams = [("platform", tx.PassExam(person(number))) for number in range(jurors)]
    assert set(chain.block(*exams).codes) <= {"OK"}
    chain.step_to_day(2019, 3, 1)
    return chain


def row(chain: Chain, claim: int) -> Claim:
    return chain.state.get(Claim, claim)


def dispute(chain: Chain, claim: int) -> Dispute:
    return chain.state.get(Dispute, row(chain, claim).dispute)


def account(chain: Chain) -> Account:
    return chain.state.get(Account, 0)


def filed(chain: Chain, member: int = CLAIMANT) -> int:
    return chain.ok("platform", filing(chain, member))[0]


def investigating(chain: Chain, member: int = CLAIMANT) -> int:
    claim = filed(chain, member)
    chain.ok("hospital", tx.Diagnose(claim, HASH))
    days(chain, PARAMS.investigate_after_days + 1)
    return claim


def drawn_and_other(chain: Chain, claim: int) -> tuple[str, str]:
    """(the drawn firm, a second one): of three firms."""
    drawn = ["platform", "bank", "firm-a", "firm-b", "hospital", "regulator", "firm-c"][row(chain, claim).investigator]
    return drawn, next(name for name in ("firm-a", "firm-b", "firm-c") if name != drawn)


def assessed(chain: Chain, member: int = CLAIMANT) -> int:
    claim = investigating(chain, member)
    chain.ok(drawn_and_other(chain, claim)[0], tx.Assess(claim, HASH))
    return claim


def reviewed(chain: Chain, reason: int, member: int = CLAIMANT) -> int:
    claim = assessed(chain, member)
    chain.ok(drawn_and_other(chain, claim)[1], tx.Review(claim, reason))
    return claim


def noticed(chain: Chain, member: int = CLAIMANT) -> int:
    claim = reviewed(chain, 0, member)
    chain.step_to_day(2019, 3, 7)
    assert state_of(chain, claim) is ClaimState.NOTICED
    return claim


def settled(chain: Chain, member: int = CLAIMANT) -> int:
    claim = noticed(chain, member)
    chain.step_to_day(2019, 3, 14)
    assert state_of(chain, claim) is ClaimState.SETTLED
    return claim


def paid(chain: Chain) -> int:
    claim = settled(chain)
    amount = row(chain, claim).amount_fen
    chain.ok("bank", tx.Advance(0, amount, False, b"advance"))
    chain.ok("bank", tx.Pay(claim, amount, b"order"))
    chain.ok("bank", tx.ConfirmPayment(claim, b"order", True))
    return claim


def objected(chain: Chain, claim: int, numbers: tuple[int, ...] = (21, 22, 23)) -> None:
    """Three persons object, which is enough."""
    for number in numbers:
        chain.ok(f"person {number}", tx.ObjectTo(person(number), claim, SALT))
    assert state_of(chain, claim) is ClaimState.DISPUTED


def before_jury(chain: Chain, claim: int) -> None:
    """The jury of a disputed claim is drawn."""
    days(chain, PARAMS.notice_days + 1)
    assert state_of(chain, claim) is ClaimState.JURY


def panel(chain: Chain, claim: int) -> list[int]:
    """Numbers of the persons on the jury, in the order of the draw."""
    return [chain.state.get(Juror, juror).member - MEMBERS for juror in dispute(chain, claim).drawn]


def commit(chain: Chain, claim: int, number: int, vote: int) -> str:
    juror = next(at for at, found in chain.state.rows(Juror) if found.member == person(number))
    hidden = commitment(row(chain, claim).dispute, juror, vote, SALT)
    return chain.block((f"person {number}", tx.CommitBallot(person(number), claim, hidden))).codes[0]


def reveal(chain: Chain, claim: int, number: int, vote: int) -> str:
    return chain.block((f"person {number}", tx.RevealBallot(person(number), claim, vote, SALT))).codes[0]


def voted(chain: Chain, claim: int, votes: list[Vote]) -> None:
    """The jury commits and opens ``votes``, in the order of the draw; then the windows are over."""
    voters = list(zip(panel(chain, claim), votes, strict=False))
    assert {commit(chain, claim, number, vote) for number, vote in voters} <= {"OK"}
    chain.step_to(row(chain, claim).due_ms)
    assert dispute(chain, claim).stage == Stage.REVEAL
    assert {reveal(chain, claim, number, vote) for number, vote in voters} <= {"OK"}
    chain.step_to(row(chain, claim).due_ms)


def both(chain: Chain, body: object) -> None:
    """An assessor and the regulator say the same: the step is taken with the second word."""
    assert chain.ok("firm-a", body)[1] == 0
    assert chain.ok("regulator", body)[1] == 1


def check_whole(chain: Chain) -> None:
    """Indexes follow the rows; no juror sits on a jury that has ended."""
    assert list(differences(chain.store)) == []
    cases: dict[int, int] = {}
    for _, found in chain.state.rows(Dispute):
        if found.stage != Stage.ENDED:
            assert found.outcome == Outcome.NONE
            for juror in found.drawn:
                cases[juror] = cases.get(juror, 0) + 1
    assert {at: found.open_cases for at, found in chain.state.rows(Juror) if found.open_cases} == cases
