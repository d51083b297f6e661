"""Contributions that follow one another are one run: what comes out is what comes out one by one."""

from datetime import date
from functools import cache
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger import journal, organisations
from ledger.bills import is_pending
from ledger.contributions import debts
from ledger.errors import TransactionRejected
from ledger.execute import RUNS, Executor, execute
from ledger.organisations import OrganisationState
from ledger.plans import STAGE_CLOSE
from ledger.roles import Role
from ledger.rows import NONE, Account, Member, Organisation, Payment, Plan, Settlement
from ledger.standing import Changes
from ledger.state import BlockContext, State
from ledger.store import MemoryStore, Overlay
from ledger.transactions import Collect, Contribution, Enrol, Exit, Transaction
from tests.ledger.lockstep import Lockstep
from tests.ledger.lockstep_kit import identity, with_params
from tests.ledger.test_life import enrolled, settled

FIRST = 24
PEOPLE = 16
MONTHS = (1990 * 12, 1960 * 12 + 3)
BANK, PLATFORM, SUSPENDED, UNKNOWN = (bytes([number]) * 32 for number in range(1, 5))
NUMBER = st.integers(0, 999)
Result = tuple[int, ...] | str
"""The detail of a receipt, or the code of a refusal."""


class World(NamedTuple):
    """A state on which transactions are tried, and its block."""

    store: MemoryStore
    block: BlockContext

    def state(self) -> State:
        return State(Overlay(self.store), self.block)


@cache
def world(stop: int, a: int, b: int) -> World:
    """Two plans after ``stop`` steps of a life with failures, lapses, leavers who owe, and a second settlement."""
    versions = [(date(2018, 1, 1), with_params(year_cap_fen=250))]
    one = Lockstep(versions, FIRST, MONTHS)
    two = Lockstep(versions, FIRST, MONTHS, one.beside)
    organisations.add(one.state, Organisation("bank", BANK, int(Role.BANK), OrganisationState.ACTIVE, (), ""))
    organisations.add(one.state, Organisation("platform", PLATFORM, int(Role.PLATFORM), 0, (), ""))
    organisations.add(one.state, Organisation("other", SUSPENDED, int(Role.BANK), OrganisationState.SUSPENDED, (), ""))
    steps = [("join", PEOPLE, a), ("turn", 1_000, 0), ("turn", 0, 9), ("collect_all", a, b), ("leave_owing", b, 0)]
    steps += [("turn", 0, 0), ("turn", 1_500, 0), ("turn", 0, 9), ("collect_all", b % 13, a), ("leave_owing", a, 0)]
    steps += [("turn", 0, 0), ("turn", 900, 0), ("turn", 0, 9), ("collect_all", a, b)]
    for name, first, second in steps[:stop]:
        for run in (one, two):
            run.run([(name, first, second)])
    one.state.root()
    store = MemoryStore()
    store.write(one.state.overlay.batch())
    return World(store, one.state.block)


def owed(state: State, member_id: int) -> list[tuple[int, int]]:
    """(period, fen) of everything a member owes."""
    member = state.get(Member, member_id)
    changes = Changes(state, member.plan, state.get(Plan, member.plan))
    return [debt[:2] for debt in debts(state, changes, changes.lift(member))]


def paying(state: State, who: int, things: int, wrong: int, reference: int) -> Contribution:
    """Mostly what is owed; ``wrong`` spoils it."""
    member_id = who % state.length(Member) if wrong != 1 else state.length(Member) + who
    paid = owed(state, member_id)[: 1 + things % 2] if wrong != 1 else []
    periods = tuple(period for period, _ in paid) or (FIRST,)
    amount = sum(fen for _, fen in paid)
    if wrong == 2:
        amount += 1
    if wrong == 3:
        periods = (periods[0] + 1,)
    return Contribution(member_id, periods, amount, b"" if wrong == 4 else b"reference %d" % (reference % 40))


def transaction(signer: bytes, body: Any) -> Transaction:
    return Transaction(1, body, signer, 1, bytes(16), bytes(64))


def chosen(state: State, step: tuple[str, int, int, int, int]) -> Transaction:
    name, a, b, c, d = step
    member_id = a % state.length(Member)
    plan_id = b % 2
    if name == "exit":
        return transaction(PLATFORM, Exit(member_id))
    if name == "enrol":
        return transaction(PLATFORM, Enrol(plan_id, identity(a % (2 * PEOPLE)), MONTHS[0], b""))
    if name == "collect":
        return transaction(PLATFORM, Collect(plan_id, state.get(Plan, plan_id).period, member_id, member_id, (0,), 0))
    signer = {"stranger": UNKNOWN, "suspended": SUSPENDED, "platform": PLATFORM}.get(name, BANK)
    return transaction(signer, paying(state, a, b, c, d))


def one_by_one(state: State, transactions: list[Transaction]) -> list[Result]:
    results: list[Result] = []
    for item in transactions:
        try:
            with state.attempt():
                results.append(execute(state, item))
        except TransactionRejected as error:
            results.append(error.code)
    return results


def in_runs(state: State, transactions: list[Transaction]) -> list[Result]:
    executor, results = Executor(state), list[Result]()
    executor.expect(transactions[::2])
    for item in transactions:
        try:
            results.append(executor.execute(item))
        except TransactionRejected as error:
            results.append(error.code)
    executor.close()
    return results


def assert_alike(here: World, transactions: list[Transaction]) -> list[Result]:
    """Both ways give the same receipts, roots, rows and index entries; returns the results."""
    alone, together = here.state(), here.state()
    results = in_runs(together, transactions)
    assert results == one_by_one(alone, transactions)
    assert together.root() == alone.root()
    assert together.overlay.batch().changes == alone.overlay.batch().changes
    journal.check_touched(together)
    return results


NAMES = ("pay",) * 8 + ("exit", "enrol", "collect", "stranger", "suspended", "platform")
WRONG = st.sampled_from((0,) * 8 + (1, 2, 3, 4))
STEPS = st.lists(st.tuples(st.sampled_from(NAMES), NUMBER, NUMBER, WRONG, NUMBER), max_size=30)


@given(st.integers(2, 14), st.integers(0, 5), st.integers(0, 5), STEPS)
@settings(max_examples=150, deadline=None)
def test_a_block_in_runs_is_the_block_one_by_one(
    stop: int, a: int, b: int, steps: list[tuple[str, int, int, int, int]]
) -> None:
    here = world(stop, a, b)
    assert_alike(here, [chosen(here.state(), step) for step in steps])


@pytest.mark.parametrize("stop", range(2, 15))
def test_everybody_who_owes_pays_everything_in_one_run_and_then_again(stop: int) -> None:
    for a, b in ((1, 2), (3, 5)):
        here = world(stop, a, b)
        state = here.state()
        everybody = range(state.length(Member))
        bodies = [paying(state, who, things, 0, 99) for things in (1, 0) for who in everybody]
        unique = [transaction(BANK, replace(body, reference=b"%d" % number)) for number, body in enumerate(bodies)]
        results = assert_alike(here, unique)
        first = results[: len(everybody)]
        for who, result in zip(everybody, first, strict=True):
            assert isinstance(result, tuple) == bool(owed(state, who)), "exactly those who owe can pay"
        assert not any(isinstance(result, tuple) for result in results[len(everybody) :]), "nobody pays twice"


def test_the_lives_hold_every_kind_of_debt() -> None:
    kinds, pending = set(), 0
    for stop in range(2, 15):
        state = world(stop, 1, 2).state()
        results = one_by_one(
            state, [transaction(BANK, paying(state, who, 1, 0, who)) for who in range(state.length(Member))]
        )
        kinds |= {tuple(map(bool, result)) for result in results if isinstance(result, tuple)}
        state = world(stop, 1, 2).state()
        pending += sum(is_pending(row, state.get(Plan, row.plan)) for _, row in state.rows(Member))
    assert {(True, False, False), (True, True, False), (False, False, True)} <= kinds
    assert pending > 0


def test_who_pays_his_arrears_alone_still_owes_the_open_period_and_has_not_failed_it() -> None:
    tried = 0
    for stop in range(2, 15):
        state = world(stop, 1, 2).state()
        for who in range(state.length(Member)):
            before, plan = state.get(Member, who), state.get(Plan, state.get(Member, who).plan)
            debts_before = owed(state, who)
            if len(debts_before) == 2 and not is_pending(before, plan):
                execute(state, transaction(BANK, paying(state, who, 0, 0, 500 + who)))
                after = state.get(Member, who)
                assert after == replace(before, fail_period=NONE, fails=0, arrears_fen=0)
                assert owed(state, who) == debts_before[1:]
                tried += 1
    assert tried > 0


def test_with_what_is_due_a_failure_is_forgotten_that_was_paid_since_and_not_one_that_counts() -> None:
    state = world(3, 1, 2).state()
    member, plan = state.get(Member, 0), state.get(Plan, 0)
    assert (plan.stage, plan.last_charged) == (STAGE_CLOSE, NONE)
    state.put(0, replace(member, fail_period=plan.period - 1, fails=2, arrears_fen=5))
    execute(state, transaction(BANK, paying(state, 0, 0, 0, 1)))
    assert state.get(Member, 0) == replace(member, paid_period=plan.period), "paid with an earlier close"


def test_a_reference_is_used_once_also_within_a_run() -> None:
    here = world(3, 1, 2)
    state = here.state()
    first, second = (paying(state, who, 0, 0, 7) for who in (0, 1))
    results = assert_alike(here, [transaction(BANK, first), transaction(BANK, second), transaction(BANK, first)])
    assert [result if isinstance(result, str) else "" for result in results] == [
        "",
        "DUPLICATE_REFERENCE",
        "NOTHING_OWED",
    ]


def test_what_a_run_adds_up_is_there_before_the_next_rule_and_at_the_end() -> None:
    here = world(3, 1, 2)
    state = here.state()
    executor = Executor(state)
    body = paying(state, 0, 0, 0, 1)
    due = state.get(Account, 0).due
    executor.execute(transaction(BANK, body))
    assert state.get(Payment, 0).reference == body.reference
    executor.execute(transaction(PLATFORM, Exit(1)))
    assert state.get(Account, 0).due == due - body.amount_fen, "the exit found the journal posted"
    other = paying(state, 2, 0, 0, 2)
    executor.execute(transaction(BANK, other))
    executor.close()
    assert state.get(Account, 0).due == due - body.amount_fen - other.amount_fen
    assert state.get(Settlement, 0).singles_fen == body.amount_fen + other.amount_fen


def test_who_was_suspended_between_two_runs_is_refused_in_the_second() -> None:
    state = world(3, 1, 2).state()
    executor = Executor(state)
    executor.execute(transaction(BANK, paying(state, 0, 0, 0, 0)))
    executor.execute(transaction(PLATFORM, Exit(1)))
    state.put(0, replace(state.get(Organisation, 0), state=int(OrganisationState.SUSPENDED)))
    with pytest.raises(TransactionRejected, match="SIGNER_SUSPENDED"):
        executor.execute(transaction(BANK, paying(state, 2, 0, 0, 2)))


@pytest.mark.parametrize("kind", RUNS)
def test_who_may_not_send_is_refused_within_a_run_as_well(kind: type[Any]) -> None:
    here = world(3, 1, 2)
    state = here.state()
    bodies = [paying(state, who, 0, 0, who) for who in range(4)]
    signers = (BANK, PLATFORM, SUSPENDED, UNKNOWN)
    results = assert_alike(here, [transaction(*pair) for pair in zip(signers, bodies, strict=True)])
    assert kind is Contribution
    assert results[1:] == ["NOT_PERMITTED", "SIGNER_SUSPENDED", "UNKNOWN_SIGNER"]


def test_one_block_of_contributions_leaves_what_a_block_for_each_leaves() -> None:
    together = enrolled()
    settled(together)
    apart = together.fork()
    state = State(Overlay(together.store), BlockContext(bytes(32), 1, 1, 1, bytes(32), bytes(64)))
    bodies = [paying(state, who, 0, 0, who) for who in range(0, state.length(Member), 11)]
    assert set(together.block(*(("bank", body) for body in bodies)).codes) == {"OK"}
    for body in bodies:
        apart.ok("bank", body)
    for kind in (Member, Account, Settlement, Payment, Plan):
        assert list(together.state.rows(kind)) == list(apart.state.rows(kind))
