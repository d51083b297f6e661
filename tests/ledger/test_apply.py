"""Applying blocks: order of deadlines and transactions, refused transactions, replay, the clock, the skip rule."""

from hashlib import sha256

import pytest
from msgspec.structs import replace

from ledger import calendar, proposers
from ledger import transactions as tx
from ledger.apply import DEADLINE_RULES, apply_block, begin_block
from ledger.blocks import DueKey
from ledger.claim_table import DEADLINES
from ledger.deadlines import DeadlineKind
from ledger.errors import CODES, InvariantViolation
from ledger.execute import RULES
from ledger.genesis import initial_batch
from ledger.genesis_file import CLOCK_REAL
from ledger.roles import MAY_SEND
from ledger.rows import Clock, Member, Plan, Validator
from ledger.state import Index
from ledger.store import INDEXES, MemoryStore
from ledger.tables import Table
from ledger.transactions import TransactionBody, decode_transaction, transaction_id
from ledger.validity import view_at_genesis
from ledger.votes import faults
from tests.ledger.chain import CHAIN_PARAMS, GENESIS_MS, START_DAY, START_MS, Chain, genesis_values

BIRTH_MONTH = calendar.month_of(START_DAY) - 30 * 12


def identity(number: int) -> bytes:
    return sha256(f"person {number}".encode()).digest()


def enrol(number: int) -> tx.Enrol:
    return tx.Enrol(0, identity(number), BIRTH_MONTH, b"")


# ---- tables are complete ---------------------------------------------------------------------------------------------


def test_every_body_has_a_rule_and_a_row_in_the_table_of_roles() -> None:
    bodies = set(TransactionBody.__args__)
    assert set(RULES) == bodies
    assert set(MAY_SEND) == bodies - {tx.AdvanceClock}


def test_every_deadline_has_a_rule() -> None:
    assert set(DEADLINE_RULES) == set(DeadlineKind)
    assert set(DEADLINES.values()) < set(DeadlineKind)


# ---- blocks ----------------------------------------------------------------------------------------------------------


def test_an_empty_block_changes_nothing_and_makes_no_block_due() -> None:
    chain = Chain()
    before = chain.view.state_root
    block = chain.block()
    assert block.applied.state_root == before
    assert not block.applied.state_changed
    assert not chain.view.certifying_due
    assert block.applied.receipts == ()


def test_a_block_says_which_tables_and_indexes_it_touched() -> None:
    chain = Chain()
    assert chain.block().applied.touched == frozenset()
    assert chain.block(("platform", enrol(1))).applied.touched >= {Table.MEMBERS, Table.COHORTS, Index.COHORT}
    assert chain.block(("platform", enrol(2))).applied.touched.isdisjoint({Table.ORGANISATIONS, Table.PROPOSALS})
    chain.block(("clock", tx.AdvanceClock(START_MS + calendar.MS_PER_DAY)))
    assert chain.blocks[-1].applied.touched == {Table.META}


def test_a_block_with_a_transaction_makes_the_certifying_block_due() -> None:
    chain = Chain()
    assert chain.block(("platform", enrol(0))).applied.state_changed
    assert chain.view.certifying_due
    chain.block()
    assert not chain.view.certifying_due


def test_a_refused_transaction_also_makes_the_certifying_block_due() -> None:
    chain = Chain()
    assert not chain.block(("bank", enrol(0))).applied.state_changed
    assert chain.view.certifying_due


def test_deadlines_run_before_the_transactions_of_their_block() -> None:
    chain = Chain()
    chain.ok("platform", enrol(0))
    period = chain.state.get(Plan, 0).period
    chain.ok("clock", tx.AdvanceClock(calendar.notice_ms(period)))
    block = chain.block(("platform", tx.Exit(0)), ("platform", enrol(1)))
    assert [receipt.subject for receipt in block.deadline_receipts] == [DueKey(calendar.notice_ms(period), 4, 0)]
    assert chain.state.get(Member, 0).to_period == period + 1, "an exit in the notice's block still owes"
    assert chain.state.get(Member, 1).from_period == period + 1, "a join in the notice's block does not"
    assert isinstance(block.applied.receipts[0].subject, DueKey), "deadlines' receipts come first"


def test_a_replay_of_the_blocks_gives_the_same_roots_and_the_same_store() -> None:
    chain = Chain()
    chain.block(("platform", enrol(0)), ("bank", enrol(1)), ("platform", enrol(2)), ("platform", enrol(0)))
    chain.step_to_day(2018, 12, 1)
    batch, header, root = initial_batch(chain.genesis)
    store = MemoryStore()
    store.write(batch)
    view = view_at_genesis(
        store, chain_id=chain.genesis.chain_id, params=chain.genesis.params, header=header, state_root=root
    )
    for block in chain.blocks:
        decoded = [(transaction_id(raw), decode_transaction(raw)) for raw in block.body.transactions]
        applied = apply_block(store, view, block.header, block.body.parent_certificate, decoded)
        assert (applied.view, applied.receipts) == (block.applied.view, block.applied.receipts)
        assert applied.batch.changes == block.applied.batch.changes
        store.write(applied.batch)
        view = applied.view
    assert list(store.scan(b"", b"\xff")) == list(chain.store.scan(b"", b"\xff"))


def test_a_block_written_to_nothing_but_its_batch_leaves_the_store_alone() -> None:
    chain = Chain()
    header, body, transactions = chain.propose([chain.transaction("platform", enrol(0))])
    before = list(chain.store.scan(b"", b"\xff"))
    apply_block(chain.store, chain.view, header, body.parent_certificate, transactions)
    assert list(chain.store.scan(b"", b"\xff")) == before


def test_what_a_block_derived_lives_no_longer_than_the_block() -> None:
    """It refers to the block's state; left there, only the garbage collector would free the rows of a block."""
    chain = Chain()
    header, body, _ = chain.propose([])
    execution = begin_block(chain.store, chain.view, header, body.parent_certificate)
    execution.run_deadlines()
    execution._state.memo["derived"] = execution._state
    execution.finish()
    assert execution._state.memo == {}


def test_the_steps_of_a_block_come_in_one_order() -> None:
    chain = Chain()
    header, body, ((transaction_id_, transaction),) = chain.propose([chain.transaction("platform", enrol(0))])
    execution = begin_block(chain.store, chain.view, header, body.parent_certificate)
    with pytest.raises(InvariantViolation):
        execution.deliver(transaction_id_, transaction)
    with pytest.raises(InvariantViolation):
        execution.finish()
    execution.run_deadlines()
    with pytest.raises(InvariantViolation):
        execution.run_deadlines()
    execution.deliver(transaction_id_, transaction)
    execution.finish()
    with pytest.raises(InvariantViolation):
        execution.deliver(transaction_id_, transaction)
    with pytest.raises(InvariantViolation):
        execution.finish()


def test_a_block_is_applied_to_its_parent_only() -> None:
    chain = Chain()
    header, body, _ = chain.propose()
    chain.block()
    with pytest.raises(InvariantViolation):
        begin_block(chain.store, chain.view, header, body.parent_certificate)


def test_a_refused_transaction_leaves_no_trace_between_two_that_succeed() -> None:
    chain, other = Chain(), Chain()
    too_old = tx.Enrol(0, identity(1), BIRTH_MONTH - 60 * 12, b"")
    batch = tx.EnrolBatch(0, ((identity(2), BIRTH_MONTH), (identity(3), BIRTH_MONTH - 60 * 12)))
    raws = [chain.transaction("platform", body) for body in (enrol(0), too_old, batch, enrol(4))]
    block = chain.raw_block(raws)
    assert block.codes == ["OK", "AGE_OUT_OF_RANGE", "AGE_OUT_OF_RANGE", "OK"]
    assert all(code in CODES for code in block.codes)
    assert [receipt.detail for receipt in block.transaction_receipts][1] == ()
    assert other.raw_block([raws[0], raws[3]]).applied.state_root == block.applied.state_root
    assert list(other.store.scan(INDEXES, b"j")) == list(chain.store.scan(INDEXES, b"j"))


# ---- the stepped clock -----------------------------------------------------------------------------------------------


def test_the_clock_moves_from_the_next_block_on() -> None:
    chain = Chain()
    target = chain.now_ms + calendar.MS_PER_DAY
    block = chain.block(("clock", tx.AdvanceClock(target)))
    assert block.codes == ["OK"]
    assert block.applied.ledger_time_ms < target
    assert chain.view.ledger_time(block.header.time_ms) == target
    assert chain.block().applied.ledger_time_ms == target + 1_000


def test_the_clock_never_goes_back_nor_stands_still() -> None:
    chain = Chain()
    now = chain.now_ms
    assert chain.refused("clock", tx.AdvanceClock(now)) == "CLOCK_BACKWARDS"
    assert chain.refused("clock", tx.AdvanceClock(START_MS)) == "CLOCK_BACKWARDS"
    chain.ok("clock", tx.AdvanceClock(chain.now_ms + 1))


def test_two_advances_in_one_block_must_ascend() -> None:
    chain = Chain()
    target = chain.now_ms + calendar.MS_PER_DAY
    sent = [("clock", tx.AdvanceClock(to)) for to in (target, target, target - 1, target + 1)]
    assert chain.block(*sent).codes == ["OK", "CLOCK_BACKWARDS", "CLOCK_BACKWARDS", "OK"]
    assert chain.view.ledger_time(chain.view.header.time_ms) == target + 1


def test_only_the_clock_key_moves_the_clock() -> None:
    chain = Chain()
    for name in ("platform", "regulator", "stranger"):
        assert chain.refused(name, tx.AdvanceClock(chain.now_ms + 10)) == "NOT_PERMITTED"


def test_a_production_chain_refuses_to_step() -> None:
    chain = Chain(genesis_values(clock=CLOCK_REAL, clock_key=b"", clock_start_ms=GENESIS_MS))
    assert chain.state.get(Clock, 1) == Clock(0, b"")
    for name in ("clock", "platform"):
        assert chain.refused(name, tx.AdvanceClock(chain.now_ms + 10)) == "CLOCK_NOT_STEPPED"
    assert chain.now_ms == chain.next_time_ms


def test_the_clock_key_sends_nothing_else() -> None:
    assert Chain().refused("clock", enrol(0)) == "UNKNOWN_SIGNER"


# ---- the skip rule ---------------------------------------------------------------------------------------------------


def fails(chain: Chain) -> dict[int, tuple[int, int]]:
    return {seat: (row.fails, row.skipped_until) for seat, row in chain.state.rows(Validator)}


def test_a_failed_round_is_charged_to_its_proposer_in_the_next_block() -> None:
    chain = Chain()
    chain.block()
    absent = proposers.proposer(chain.view.proposers(), 0)
    chain.block(round_=1)
    assert fails(chain)[absent.seat] == (0, 0), "not yet: the certificate of the round stands in the next body"
    block = chain.block(round_=next(r for r in range(3) if creator(chain, r) != absent.validator_key))
    assert fails(chain)[absent.seat] == (1, block.header.height + 8)
    assert block.applied.state_changed
    assert absent.seat not in block.applied.eligible_next
    assert len(block.applied.eligible_next) == 3


def creator(chain: Chain, round_: int) -> bytes:
    return proposers.proposer(chain.view.proposers(), round_).validator_key


def test_a_skipped_proposer_returns_by_height_without_any_row_changing() -> None:
    chain = Chain()
    absent = proposers.proposer(chain.view.proposers(), 0).seat
    chain.block(round_=1)
    chain.block()
    until = chain.state.get(Validator, absent).skipped_until
    if until == 0:
        pytest.fail("the proposer was not charged")
    while chain.view.height + 1 < until:
        assert absent not in [entry.seat for entry in chain.view.eligible]
        chain.block()
    root = chain.view.state_root
    assert absent in [entry.seat for entry in chain.view.eligible]
    chain.block()
    assert chain.view.state_root == root or fails(chain)[absent][0] == 0


def test_a_block_created_resets_the_fails_of_its_creator() -> None:
    chain = Chain()
    absent = proposers.proposer(chain.view.proposers(), 0)
    chain.block(round_=1)
    chain.block()
    for _ in range(60):
        chain.block()
        if chain.blocks[-1].header.creator == absent.validator_key:
            break
    assert fails(chain)[absent.seat][0] == 0
    assert chain.state.get(Validator, absent.seat).skipped_until > 0, "the skipping ends by height, not by the reset"


def test_more_rounds_than_validators_charge_each_once_and_leave_a_quorum_eligible() -> None:
    chain = Chain()
    chain.block(round_=9)
    chain.block()
    charged = [seat for seat, (count, until) in fails(chain).items() if until]
    assert len(charged) == 4
    assert all(count <= 1 for count, _ in fails(chain).values())
    assert len(chain.view.eligible) == 4 - faults(4)
    latest = max(fails(chain).items(), key=lambda item: item[1][1])[0]
    assert latest not in [entry.seat for entry in chain.view.eligible]


def test_charges_go_by_the_eligible_of_that_height_not_of_the_next() -> None:
    """Block h' charges by eligible(h' - 1), though block h' - 1 itself may have changed the rows."""
    chain = Chain()
    absent = proposers.proposer(chain.view.proposers(), 0).seat
    chain.block(round_=1)
    then = [entry.seat for entry in chain.view.proposers()]
    assert absent in then, "the next block will charge him; until then he is eligible"
    rounds = then.index(absent) + 1
    chain.block(round_=rounds)
    assert absent not in [entry.seat for entry in chain.view.eligible]
    assert charged_at(chain) == {absent}
    chain.block()
    assert charged_at(chain) == set(then[:rounds])


def test_a_skipped_seat_is_not_charged_again_for_rounds_it_did_not_lead() -> None:
    chain = Chain(genesis_values(params=replace(CHAIN_PARAMS, skip_blocks=100)))
    absent = proposers.proposer(chain.view.proposers(), 0).seat
    chain.block(round_=1)
    chain.block()
    while chain.view.height < 40:
        everybody = proposers.order(chain.view.header.beacon, chain.view.height + 1, chain.view.next_validators)
        if everybody[0].seat == absent:
            leader = proposers.proposer(chain.view.proposers(), 0).seat
            assert leader == everybody[1].seat
            chain.block(round_=1)
            chain.block()
            assert charged_at(chain) == {leader}
            return
        chain.block()
    pytest.fail("no height at which the skipped seat would have led")


def charged_at(chain: Chain) -> set[int]:
    """Seats that the newest block charged."""
    return {seat for seat, row in chain.state.rows(Validator) if row.changed_height == chain.view.height}


def test_an_idle_chain_does_not_change_its_root_for_ever() -> None:
    chain = Chain()
    chain.block(round_=2)
    chain.block()
    assert len(chain.quiet()) <= 3
    root = chain.view.state_root
    for _ in range(30):
        chain.block()
    changes = sum(block.applied.state_changed for block in chain.blocks[-30:])
    assert changes <= 2, "only a reset of fails may change it"
    assert chain.view.state_root == root or changes
