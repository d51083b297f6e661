"""Derived indexes equal what the rows say, after long random runs, and can be rebuilt from them (LEDGER §1)."""

from hashlib import sha256
from random import Random

import pytest

from ledger import calendar
from ledger import transactions as tx
from ledger.bills import bill, owed
from ledger.claim_table import ClaimState
from ledger.collection import differences_of
from ledger.indexes import differences, entries, rebuild
from ledger.plans import STAGE_CLOSE
from ledger.rows import NONE, Claim, Collection, Draw, Member, Organisation, Plan, Settlement
from ledger.state import Index
from ledger.store import Batch, index_key
from tests.ledger.chain import START_DAY, Chain, key

HASH = bytes(32)


class World:
    """Organisations that do what they may, at random but by seed; some of it is refused."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.chain = Chain()
        self.people = 0
        self.references = 0
        self.codes: dict[str, int] = {}

    def run(self, days: int) -> None:
        self.enrol(60)
        for _ in range(days):
            self.chain.step_to(self.chain.now_ms + self.random.randrange(1, 4) * calendar.MS_PER_DAY)
            for step in self.random.choices(
                (self.enrol_some, self.leave, self.file, self.work_on_claims, self.collect, self.pay), k=4
            ):
                self.send(step())

    def send(self, sent: list[tuple[str, object]]) -> None:
        if sent:
            for code in self.chain.block(*sent).codes:
                self.codes[code] = self.codes.get(code, 0) + 1

    def enrol(self, number: int) -> None:
        self.send([("platform", tx.EnrolBatch(0, tuple(self.person() for _ in range(number))))])

    def person(self) -> tuple[bytes, int]:
        self.people += 1
        birth_month = calendar.month_of(START_DAY) - 12 * self.random.randrange(1, 59)
        return sha256(f"person {self.people}".encode()).digest(), birth_month

    def enrol_some(self) -> list[tuple[str, object]]:
        name = f"member {self.people + 1}"
        identity, birth_month = self.person()
        known = self.random.randrange(1, self.people + 1)
        return [
            (name, tx.Enrol(0, identity, birth_month, key(name))),
            ("platform", tx.Enrol(0, sha256(f"person {known}".encode()).digest(), birth_month, b"")),
            ("platform", tx.EnrolBatch(0, (self.person(), self.person(), (identity, birth_month)))),
        ]

    def leave(self) -> list[tuple[str, object]]:
        return [("platform", tx.Exit(self.member())), ("platform", tx.ExitBatch(0, tuple(sorted({self.member()}))))]

    def member(self) -> int:
        return self.random.randrange(self.chain.state.length(Member))

    def file(self) -> list[tuple[str, object]]:
        day = calendar.day_of(self.chain.now_ms) - self.random.randrange(5)
        member = self.member()
        event = sha256(f"event {member % 7}".encode()).digest()
        cause = self.random.randrange(2)
        return [("platform", tx.FileClaim(member, self.random.choice((1, 2)), 1, cause, day, 1, event, bytes(16)))]

    def work_on_claims(self) -> list[tuple[str, object]]:
        sent: list[tuple[str, object]] = []
        for claim_id, claim in self.chain.state.rows(Claim):
            if claim.state in (ClaimState.FILED, ClaimState.INVESTIGATING) and claim.hospital == NONE:
                sent.append(("hospital", tx.Diagnose(claim_id, HASH)))
            elif self.random.random() < 0.6:
                firm = self.random.choice(("firm-a", "firm-b"))
                if claim.state == ClaimState.INVESTIGATING and claim.investigator != NONE:
                    drawn = self.chain.state.get(Organisation, claim.investigator).name
                    sent.append((self.random.choice((firm, drawn)), tx.Assess(claim_id, HASH)))
                elif claim.state == ClaimState.ASSESSED:
                    sent.append((firm, tx.Review(claim_id, self.random.choice((0, 0, 0, 2)))))
        return sent

    def collect(self) -> list[tuple[str, object]]:
        state, plan = self.chain.state, self.chain.state.get(Plan, 0)
        if plan.stage != STAGE_CLOSE:
            return []
        settlement = state.get(Settlement, plan.settlement)
        failing = [
            member_id
            for member_id, row in state.rows(Member)
            if row.from_period <= plan.period < row.to_period
            and owed(state, row).total_fen
            and self.random.random() < 0.2
        ]
        failures = differences_of(0, failing)
        newest = state.length(Collection)
        corrects = newest if newest and state.get(Collection, newest - 1).period == plan.period else 0
        self.references += 1
        reference = f"collected {self.references}".encode()
        return [
            ("platform", tx.Collect(0, plan.period, 0, state.length(Member) - 1, failures, 0)),
            ("platform", tx.Collect(0, plan.period, 0, state.length(Member) - 1, failures, corrects)),
            ("bank", tx.ConfirmCollection(max(newest - 1, 0), settlement.due_fen, reference)),
        ]

    def pay(self) -> list[tuple[str, object]]:
        sent: list[tuple[str, object]] = [("bank", tx.Advance(0, 200_000, False, self.reference()))]
        for claim_id, claim in self.chain.state.rows(Claim):
            if claim.state == ClaimState.SETTLED or (claim.state == ClaimState.PAYING and not claim.reference):
                sent.append(("bank", tx.Pay(claim_id, claim.amount_fen, self.reference())))
            elif claim.state == ClaimState.PAYING:
                sent.append(("bank", tx.ConfirmPayment(claim_id, claim.reference, self.random.random() < 0.7)))
        for member_id, row in self.chain.state.rows(Member):
            debt = owed(self.chain.state, row)
            if debt.arrears_fen and self.random.random() < 0.3:
                periods = (row.fail_period,)
                sent.append(("bank", tx.Contribution(member_id, periods, debt.total_fen, self.reference())))
        return sent

    def reference(self) -> bytes:
        self.references += 1
        return f"reference {self.references}".encode()


@pytest.fixture(scope="module")
def world() -> World:
    made = World(7)
    made.run(90)
    return made


def test_a_long_random_run_reaches_the_states_it_should(world: World) -> None:
    states = {ClaimState(claim.state) for _, claim in world.chain.state.rows(Claim)}
    assert {ClaimState.PAID, ClaimState.REFUSED_FINAL} <= states
    assert world.codes["OK"] > 200
    assert len(world.codes) > 8, "many transactions must be refused, each by its own code"
    closed = [draw for _, draw in world.chain.state.rows(Draw) if draw.closed_height]
    assert len(closed) > 5


def test_the_live_indexes_are_what_the_rows_say(world: World) -> None:
    assert list(differences(world.chain.store)) == []


def test_every_kind_of_index_was_used(world: World) -> None:
    used = {index for index, _, _ in entries(world.chain.store)}
    elsewhere = {Index.DRAW, Index.OPEN_DRAW, Index.CLEARED, Index.JUROR, Index.BALLOT, Index.CONTRADICTION}
    assert used >= set(Index) - elsewhere


def test_indexes_are_rebuilt_from_rows_alone(world: World) -> None:
    chain = world.chain.fork()
    before = list(chain.store.scan(b"", b"\xff"))
    batch = Batch()
    for index in Index:
        batch.put(index_key(index.value, b"nonsense"), b"x")
    for at, (where, _) in enumerate(chain.store.scan(b"i", b"j")):
        if at % 3 == 0:
            batch.delete(where)
    chain.store.write(batch)
    assert {what for _, _, what in differences(chain.store)} >= {"missing", "unexpected"}
    assert rebuild(chain.store) > 100
    assert list(chain.store.scan(b"", b"\xff")) == before


def test_a_chain_with_rebuilt_indexes_goes_on_like_the_other(world: World) -> None:
    one, other = world.chain.fork(), world.chain.fork()
    rebuild(other.store)
    for chain in (one, other):
        chain.block(("platform", tx.Enrol(0, sha256(b"person 1").digest(), 1990 * 12, b"")))
        chain.step_to(chain.now_ms + 40 * calendar.MS_PER_DAY)
    assert one.view.state_root == other.view.state_root


def test_lists_of_an_index_are_rebuilt_across_chunks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.indexes.CHUNK", 2)
    chain = world.chain.fork()
    rebuild(chain.store)
    assert list(differences(chain.store)) == []


def test_bills_can_be_read_for_everybody(world: World) -> None:
    state = world.chain.state
    for member_id, _ in state.rows(Member):
        total, charges = bill(state, member_id)
        assert total == sum(charge.charge_fen for charge in charges)
