"""Random walks of many claims through the table: nothing breaks, every counter and index follows the rows."""

from random import Random

import pytest

from ledger import bills, calendar
from ledger import transactions as tx
from ledger.claim_table import TABLE, ClaimState
from ledger.disputes import Kind, Stage
from ledger.jury import Vote, commitment
from ledger.plans import STAGE_CLOSE
from ledger.rows import NO_END, NONE, Account, Claim, Cohort, Dispute, Frozen, Juror, Member, Plan, Settlement
from ledger.standing import MemberState
from tests.ledger.claim_kit import KEYED, check_whole, enrolled, person
from tests.ledger.test_life import HASH, MEMBERS, SALT, filing

Sent = tuple[str, object]
FIRMS = ("firm-a", "firm-b", "firm-c")


class Walk:
    """Everybody does what he may, at random but by seed; what is refused changes nothing."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.chain = enrolled(jurors=16)
        self.seen: set[tuple[ClaimState, ClaimState]] = set()
        self.before: dict[int, ClaimState] = {}
        self.references = 0

    def run(self, steps: int) -> None:
        for _ in range(steps):
            sent = [step for claim_id, claim in self.chain.state.rows(Claim) for step in self.work(claim_id, claim)]
            if self.random.random() < 0.7:
                member = self.random.choice((self.random.randrange(60), person(self.random.randrange(KEYED))))
                sent.append(("platform", filing(self.chain, member)))
            self.random.shuffle(sent)
            self.look(self.chain.block(*sent[:200]).codes)
            self.chain.step_to(self.chain.now_ms + self.random.randrange(1, 60) * calendar.MS_PER_HOUR)
            self.look([])
            self.collect()

    def collect(self) -> None:
        """The open period's money comes, but for a few."""
        plan = self.chain.state.get(Plan, 0)
        if plan.stage != STAGE_CLOSE or self.random.random() < 0.5:
            return
        last = self.chain.state.length(Member) - 1
        failing = self.random.randrange(last)
        self.chain.block(("platform", tx.Collect(0, plan.period, 0, last, (failing,), 0)))
        self.chain.block(("platform", tx.Collect(0, plan.period, 0, last, (), 0)))
        self.chain.block(("bank", tx.Advance(0, 100_000, False, self.reference())))

    def reference(self) -> bytes:
        self.references += 1
        return f"reference {self.references}".encode()

    def look(self, codes: list[str]) -> None:
        assert "UNKNOWN_CLAIM" not in codes
        for claim_id, claim in self.chain.state.rows(Claim):
            state = ClaimState(claim.state)
            self.seen.add((self.before.get(claim_id, ClaimState.FILED), state))
            self.before[claim_id] = state

    def work(self, claim_id: int, claim: Claim) -> list[Sent]:
        """Some of the steps that somebody might take with a claim now, allowed or not."""
        ways: list[Sent] = [
            (self.random.choice(FIRMS), tx.AskDocuments(claim_id)),
            ("platform", tx.GiveDocuments(claim.member, claim_id, HASH, SALT)),
            ("platform", tx.Appeal(claim.member, claim_id, SALT)),
            (self.random.choice((*FIRMS, "regulator", "bank", "hospital")), tx.Opinion(claim_id, self.reason())),
            ("bank", tx.RecoverAid(claim_id, self.random.choice((10_000, 20_000, 30_000)), self.reference())),
        ]
        rare: list[Sent] = [
            ("platform", tx.Withdraw(claim.member, claim_id)),
            ("regulator", tx.ClawBack(claim_id, HASH)),
            ("regulator", tx.WriteOffAid(claim_id, HASH)),
            ("regulator", tx.CourtOrder(claim_id, HASH)),
        ]
        sent = [self.random.choice(ways)]
        if self.random.random() < 0.04:
            sent.append(self.random.choice(rare))
        if self.random.random() < 0.06:
            sent += [("firm-a", tx.HoldClaim(claim_id)), ("regulator", tx.HoldClaim(claim_id))]
        if self.random.random() < 0.8:
            sent += [("hospital", tx.Diagnose(claim_id, HASH)), *((firm, tx.Assess(claim_id, HASH)) for firm in FIRMS)]
        if self.random.random() < 0.5:
            sent.append((self.random.choice(FIRMS), tx.Review(claim_id, self.reason())))
        if self.random.random() < 0.3:
            numbers = self.random.sample(range(KEYED), 3)
            sent += [(f"person {number}", tx.ObjectTo(person(number), claim_id, SALT)) for number in numbers]
        if claim.state in (ClaimState.FRAUD_HOLD, ClaimState.STOPPED) and self.random.random() < 0.4:
            together = self.random.choice((tx.FreeClaim(claim_id), tx.RejectClaim(claim_id, 12)))
            sent += [("firm-b", together), ("regulator", together)]
        if claim.state == ClaimState.PAID and self.random.random() < 0.2:
            sent.append(("regulator", tx.ClawBack(claim_id, HASH)))
        if claim.state == ClaimState.SETTLED and self.random.random() < 0.4:
            sent += [("firm-c", tx.HoldClaim(claim_id)), ("regulator", tx.HoldClaim(claim_id))]
        elif claim.state in (ClaimState.SETTLED, ClaimState.PAYING):
            sent.append(("bank", tx.Pay(claim_id, claim.amount_fen, self.reference())))
            sent.append(("bank", tx.ConfirmPayment(claim_id, claim.reference, self.random.random() < 0.7)))
        return sent + self.ballots(claim_id, claim)

    def reason(self) -> int:
        return self.random.choice((0, 0, 2))

    def ballots(self, claim_id: int, claim: Claim) -> list[Sent]:
        if claim.state != ClaimState.JURY:
            return []
        found = self.chain.state.get(Dispute, claim.dispute)
        sent: list[Sent] = []
        for juror in found.drawn:
            number = self.chain.state.get(Juror, juror).member - MEMBERS
            vote = Vote.CLEAR if juror % 3 else Vote.REFUSE
            hidden = commitment(claim.dispute, juror, vote, SALT)
            sent.append((f"person {number}", tx.CommitBallot(person(number), claim_id, hidden)))
            sent.append((f"person {number}", tx.RevealBallot(person(number), claim_id, vote, SALT)))
        return sent


@pytest.fixture(scope="module", params=range(2))
def walk(request: pytest.FixtureRequest) -> Walk:
    made = Walk(request.param)
    made.run(60)
    return made


def test_indexes_and_jurors_follow_the_rows(walk: Walk) -> None:
    check_whole(walk.chain)


def test_the_walk_goes_where_the_table_leads(walk: Walk) -> None:
    reached = {state for pair in walk.seen for state in pair}
    assert {ClaimState.JURY, ClaimState.EXPERT, ClaimState.FRAUD_HOLD, ClaimState.STOPPED, ClaimState.PAID} <= reached
    assert len(reached) > 15
    assert {Kind(found.kind) for _, found in walk.chain.state.rows(Dispute)} == set(Kind)
    assert any(found.stage == Stage.ENDED for _, found in walk.chain.state.rows(Dispute))


def test_every_claim_stands_where_its_row_says(walk: Walk) -> None:
    noticed = {
        ClaimState.NOTICED,
        ClaimState.APPROVED,
        ClaimState.SETTLED,
        ClaimState.PAYING,
        ClaimState.STOPPED,
        ClaimState.PAID,
        ClaimState.UNCLAIMED,
        ClaimState.CLAWBACK,
        ClaimState.RECOVERED,
        ClaimState.WRITTEN_OFF,
    }
    for _, claim in walk.chain.state.rows(Claim):
        if claim.state in noticed:
            assert claim.period != NONE
        elif claim.state not in (ClaimState.REFUSED_FINAL, ClaimState.FRAUD_HOLD):
            assert claim.period == NONE
        assert (claim.held_from == NONE) == (claim.state != ClaimState.FRAUD_HOLD)


def test_cohorts_count_exactly_the_members_who_share(walk: Walk) -> None:
    state = walk.chain.state
    counted = sum(count for _, cohort in state.rows(Cohort) for _, _, count in cohort.counts)
    assert counted == sum(row.to_period == NO_END for _, row in state.rows(Member))
    helped = {claim.member for _, claim in state.rows(Claim) if claim.helped_from != NONE}
    assert {at for at, row in state.rows(Member) if row.state == MemberState.BENEFITED} == helped


def test_bills_add_up_to_what_the_settlements_charged(walk: Walk) -> None:
    state = walk.chain.state
    billed = sum(bills.total(state, row) for _, row in state.rows(Member))
    assert billed == sum(row.charged_fen for _, row in state.rows(Settlement))
    for member_id, row in state.rows(Member):
        total, charges = bills.bill(state, member_id)
        assert total == sum(charge.charge_fen for charge in charges) == bills.total(state, row)
    assert state.length(Frozen)


def test_claims_owed_are_the_claims_that_are_not_paid(walk: Walk) -> None:
    owed = {ClaimState.SETTLED, ClaimState.PAYING, ClaimState.STOPPED}
    due = sum(claim.amount_fen for _, claim in walk.chain.state.rows(Claim) if claim.state in owed)
    assert walk.chain.state.get(Account, 0).claims == due


def test_every_step_seen_is_one_of_the_table_or_several(walk: Walk) -> None:
    final = {row.target for row in TABLE} - {row.source for row in TABLE}
    for before, after in walk.seen:
        assert before not in final or after == before
