"""Whatever a member's life was, his statement verifies from its proven rows alone and gives the ledger's bill (§10).

The lives are those of ``lockstep``: bills are compared with the slow oracle, here the statements with both.
"""

from collections import Counter
from datetime import date

import pytest

from ledger import bills
from ledger.members import waits_from
from ledger.proven import ProvenState, prove_rows
from ledger.recompute import settlement_sums
from ledger.rows import Clock, Member, Settlement
from ledger.standing import MemberState
from ledger.state import State, StateReader
from ledger.statement import SettlementProof, read_settlement, read_statement, rows_needed, statement_of
from ledger.store import MemoryStore
from tests.ledger.lockstep import Lockstep
from tests.ledger.lockstep_kit import with_params
from tests.ledger.test_collection import FIRST, next_settled, pay, report, settled
from tests.ledger.test_settlement import FOUR_CLASSES, MONTHS, OTHER_CLASSES, life

PARTS = 3
"""Statements are made so often in a life, also in the middle of a period."""


def lived(seed: int) -> Lockstep:
    versions = [(date(2018, 1, 1), with_params(year_cap_fen=500, lapse_fails=1 + seed % 2))]
    if seed % 2:
        versions = [(date(2018, 1, 1), FOUR_CLASSES), (date(2019, 1, 1), OTHER_CLASSES)]
    return Lockstep(versions, 18, MONTHS)


def writable(run: Lockstep) -> State:
    assert isinstance(run.state, State)
    return run.state


def committed(state: State) -> tuple[MemoryStore, bytes]:
    """(a store with everything so far, its root), as a node has it after a block."""
    root = state.root()
    store = MemoryStore()
    store.write(state.overlay.batch())
    return store, root


def check_statement(store: MemoryStore, root: bytes, member_id: int, bill: int, owed: int) -> None:
    """Made over the store, verified over nothing but the proven rows."""
    subject = statement_of(store, member_id)
    needed = rows_needed(store, subject)
    proven = ProvenState(root, list(prove_rows(store, needed)))
    sums, _, _, _ = read_statement(proven.state, subject)
    proven.require_all_read()
    state = StateReader(store)
    assert sums.bill_fen == bills.total(state, state.get(Member, member_id)) == bill
    assert sums.owed.total_fen == bills.owed(state, state.get(Member, member_id)).total_fen == owed


@pytest.mark.parametrize("seed", range(4))
def test_every_members_statement_verifies_and_is_the_ledgers_bill(seed: int) -> None:
    run = lived(seed)
    state = writable(run)
    state.append(Clock(0, b""))
    steps = life(700 + seed, 12)
    seen: Counter[MemberState] = Counter()
    spans = 0
    for part in range(PARTS):
        run.run(steps[len(steps) * part // PARTS : len(steps) * (part + 1) // PARTS])
        store, root = committed(state)
        for member_id, person in zip(run.ids, run.hand.people, strict=True):
            check_statement(store, root, member_id, person.bill(), person.due + person.arrears + person.lost)
            row = state.get(Member, member_id)
            seen[MemberState(row.state)] += 1
            spans += row.previous_span >= 0
    assert {MemberState.DECEASED, MemberState.EXITED, MemberState.BENEFITED} <= set(seen), seen
    assert spans, "somebody came back"


def test_the_lives_above_end_in_every_way() -> None:
    """Every state is among them, and somebody was struck."""
    seen: Counter[MemberState] = Counter()
    struck = 0
    for seed in range(4):
        run = lived(seed)
        run.run(life(700 + seed, 12))
        seen.update(MemberState(row.state) for _, row in run.state.rows(Member))
        struck += sum(bool(row.struck) for _, row in run.state.rows(Settlement))
    assert set(seen) == set(MemberState), seen
    assert struck, "nobody died between a notice and its settlement"


def test_a_lapsed_and_reinstated_members_statement_verifies_over_his_gap() -> None:
    run = settled()
    writable(run).append(Clock(0, b""))
    for _ in range(2):
        report(run, 0, 9, (1,))
        next_settled(run)
    lapsed = run.state.get(Member, 1)
    assert lapsed.state == MemberState.LAPSED
    pay(run, 1, (FIRST + 1,), lapsed.arrears_fen)
    run.run([("come_back", 0, 0), ("turn", 0, 0), ("turn", 1_000, 0), ("turn", 0, 9), ("turn", 0, 0)])
    back = run.state.get(Member, 1)
    assert (back.state, back.previous_span) == (MemberState.ACTIVE, 0)
    assert waits_from(run.state, back) < back.join_day, "reinstated: he does not wait again"
    store, root = committed(writable(run))
    for member_id, person in zip(run.ids, run.hand.people, strict=True):
        check_statement(store, root, member_id, person.bill(), person.due + person.arrears + person.lost)
    assert bills.total(run.state, back) < bills.total(run.state, run.state.get(Member, 2))


@pytest.mark.parametrize("seed", range(2))
def test_every_settlement_of_such_a_life_is_recomputed_from_proven_rows(seed: int) -> None:
    run = lived(seed)
    state = writable(run)
    state.append(Clock(0, b""))
    run.run(life(700 + seed, 12))
    store, root = committed(state)
    checked = 0
    for row_id, row in state.rows(Settlement):
        if row.stage == 1:
            continue
        subject = SettlementProof(row_id)
        proven = ProvenState(root, list(prove_rows(store, rows_needed(store, subject))))
        assert read_settlement(proven.state, subject).row == row
        proven.require_all_read()
        assert settlement_sums(state, row_id).row == row
        checked += 1
    assert checked > 9
