"""What proof files say of members, settlements and draws, and what they must not: no byte is without meaning."""

from dataclasses import replace as replaced
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger import bills
from ledger.blocks import header_hash
from ledger.codec import encode
from ledger.errors import InvariantViolation, ProofFailed
from ledger.genesis import Genesis
from ledger.light import genesis_trust, verify_chain
from ledger.proven import ProvenState, prove_rows
from ledger.recompute import check_shares, draw_sums
from ledger.rows import Draw, Frozen, Member, PlanVersion, Settlement
from ledger.state import BlockContext, Index, State, StateReader, u32
from ledger.statement import (
    DrawProof,
    Inclusion,
    ProofFile,
    SettlementProof,
    Statement,
    pick_for_claim,
    rows_needed,
    statement_of,
    verify,
)
from ledger.store import MemoryStore, Overlay
from ledger.tables import Table
from tests.ledger.chain import Chain, genesis_values, seed
from tests.ledger.light_kit import (
    BEFORE,
    CHAIN,
    GENESIS,
    SHARED,
    STATE,
    inclusion_file,
    opened,
    sentences,
    statement_file,
    trusted,
)
from tests.ledger.proof_kit import (
    FAILING,
    LEAVER,
    RETURNED,
    file_of,
    headers,
)

# ---- a member's statement --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("member", [0, 1, 2, 3, LEAVER, RETURNED, FAILING])
def test_a_statement_gives_the_bill_that_the_ledger_has(member: int) -> None:
    answer = verify(statement_file(member), GENESIS, Statement)
    row = STATE.get(Member, member)
    assert answer.figures["bill_fen"] == bills.total(STATE, row) > 0
    assert answer.figures["owed_fen"] == bills.owed(STATE, row).total_fen
    assert answer.certified_by == "3 of 4 validators"


def test_a_statement_says_what_is_recomputed_and_what_is_only_certified() -> None:
    answer = verify(statement_file(0), GENESIS, Statement)
    done, word = sentences(answer, recomputed=True), sentences(answer, recomputed=False)
    assert "149 headers follow one after the other from the genesis block" in done
    assert "His bill since he joined is 1.50 RMB: 13 settled periods" in done
    assert "counts at least one member" in done
    assert "is what the rules make of the blocks" in word
    assert "Aid approved" in word
    assert "Aid approved" not in done


def test_a_statement_may_begin_at_a_trusted_header_and_names_it_otherwise() -> None:
    raw = file_of(CHAIN, BEFORE, statement_of(BEFORE, 0), first=101)
    named = header_hash(encode(CHAIN.blocks[99].header))
    assert verify(raw, GENESIS, Statement, trusted_hash=named).figures["trusted_height"] == 100
    with pytest.raises(ProofFailed, match=named.hex()):
        verify(raw, GENESIS, Statement)
    with pytest.raises(ProofFailed, match="begins at the genesis"):
        verify(statement_file(0), GENESIS, Statement, trusted_hash=named)


def test_a_file_of_another_chain_or_kind_is_refused() -> None:
    other = Chain(genesis_values(name="another")).genesis
    with pytest.raises(ProofFailed, match="chain id"):
        verify(statement_file(0), other, Statement)
    with pytest.raises(ProofFailed, match="it is about a statement"):
        verify(statement_file(0), GENESIS, SettlementProof)


def test_a_missing_row_and_one_too_many_are_refused_by_name() -> None:
    file = opened(statement_file(0))
    with pytest.raises(ProofFailed, match="accounts 0: the file does not prove this row"):
        verify(encode(without(file, Table.ACCOUNTS)), GENESIS, Statement)
    with pytest.raises(ProofFailed, match="row 0 of meta"):
        verify(encode(without(file, Table.META)), GENESIS, Statement)
    more = tuple(prove_rows(BEFORE, rows_needed(BEFORE, statement_of(BEFORE, 0)) | {(Table.MEMBERS, 7)}))
    with pytest.raises(ProofFailed, match="members 7: the file proves a row that is not needed"):
        verify(encode(replace(file, rows=more)), GENESIS, Statement)
    with pytest.raises(ProofFailed, match="ascending order"):
        verify(encode(replace(file, rows=file.rows[::-1])), GENESIS, Statement)


def without(file: ProofFile, table: Table) -> ProofFile:
    """The file without its first row of a table."""
    chain = verify_chain(genesis_trust(GENESIS), file.chain)
    keys = [ProvenState(chain.newest.state_root, (raw,)) for raw in file.rows]
    first = next(at for at, state in enumerate(keys) if any(key[0] == table for key in state.keys))
    return replace(file, rows=(*file.rows[:first], *file.rows[first + 1 :]))


def test_a_plan_version_cannot_be_left_out() -> None:
    file = without(opened(statement_file(0)), Table.PLAN_VERSIONS)
    with pytest.raises(ProofFailed, match="plan_versions 0"):
        verify(encode(file), GENESIS, Statement)


def test_the_frozen_rows_must_be_those_of_his_birth_month_and_beginning() -> None:
    subject = statement_of(BEFORE, 0)
    for wrong, why in ((subject.frozen[1], "not one of the rows"), (subject.frozen[0] - 1, "his birth month")):
        other = replace(subject, frozen=(wrong, *subject.frozen[1:]))
        with pytest.raises(ProofFailed, match=why):
            rows_needed(BEFORE, other)
    with pytest.raises(ProofFailed, match="12 frozen rows are named for 13 periods"):
        rows_needed(BEFORE, replace(subject, frozen=subject.frozen[1:]))


def free_periods(member: int) -> list[tuple[int, int, int]]:
    """(place in the bill, settlement, frozen row) of the periods that charged nothing and no sum is read from."""
    subject = statement_of(BEFORE, member)
    charges = bills.bill(STATE, member)[1]
    return [
        (at, charge.settlement, subject.frozen[at])
        for at, charge in enumerate(charges[1:-1], start=1)
        if charge.charge_fen == charge.share_fen == 0
    ]


def test_a_period_that_charged_nothing_cannot_be_left_out_either() -> None:
    """The charges would still add up; but who is shown eleven periods of twelve is shown nothing about the twelfth."""
    whole = statement_of(BEFORE, 0)
    refused = 0
    for at, settlement, frozen in free_periods(0):
        subject = Statement(0, (*whole.frozen[:at], *whole.frozen[at + 1 :]))
        left = rows_needed(BEFORE, whole) - {(Table.SETTLEMENTS, settlement), (Table.FROZEN, frozen)}
        file = replace(opened(statement_file(0)), rows=tuple(prove_rows(BEFORE, left)), subject=subject)
        with pytest.raises(ProofFailed) as caught:
            verify(encode(file), GENESIS, Statement)
        refused += caught.value.why == "a period in which he was a member has no settlement"
    assert refused, "the others are missed by the running sums already"


def test_a_period_s_settlement_is_found_for_that_period_though_the_index_is_damaged() -> None:
    (_, one, _), (_, other, _) = free_periods(0)[:2]
    fork = CHAIN.fork()
    overlay = Overlay(fork.store)
    state = State(overlay, BlockContext(GENESIS.chain_id, 1, 1, 1, bytes(32), bytes(64)))
    period = state.get(Settlement, one).period
    state.index_put(Index.SETTLEMENT, u32(0, period), other)
    fork.store.write(overlay.batch())
    with pytest.raises(ProofFailed, match=f"not of period {period} of his plan"):
        rows_needed(fork.store, statement_of(fork.store, 0))


def test_nobody_has_a_statement_who_is_no_member() -> None:
    file = opened(statement_file(0))
    with pytest.raises(InvariantViolation):
        rows_needed(BEFORE, Statement(300, ()))
    with pytest.raises(ProofFailed, match="has no row 300"):
        verify(encode(replace(file, subject=Statement(300, ()))), GENESIS, Statement)


# ---- a settlement ----------------------------------------------------------------------------------------------------


def test_every_settled_period_is_recomputed_from_its_cohorts() -> None:
    charged = 0
    for row_id, row in STATE.rows(Settlement):
        answer = verify(file_of(CHAIN, BEFORE, SettlementProof(row_id)), GENESIS, SettlementProof)
        assert answer.figures["members"] == sum(count for _, count in row.counts)
        charged += int(answer.figures["charged_fen"])
        assert "cohort by cohort" in sentences(answer, recomputed=True)
    assert charged > 0


PARAMS = STATE.get(PlanVersion, 0).params
SETTLED = STATE.get(Settlement, SHARED)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"fee_fen": SETTLED.fee_fen + 1}, "the fee"),
        ({"bad_debt_fen": SETTLED.bad_debt_noticed + 1}, "bad debt"),
        ({"goal_fen": SETTLED.goal_fen - 1}, "G is not"),
        ({"carry_used_fen": -1}, "G is not"),
        ({"shares": ((1, SETTLED.shares[0][1] - 1), SETTLED.shares[1])}, "rounded up"),
        ({"upper_bound": ((1, 0), (2, 0))}, "upper bound"),
        ({"over_fen": SETTLED.over_fen + 1}, "over is not"),
        ({"excess_fen": SETTLED.excess_fen + 1}, "do not add up"),
        ({"sponsored": True, "would_be": SETTLED.shares}, "a sponsored period has shares"),
        ({"stage": 1}, "not settled yet"),
    ],
)
def test_a_settlement_whose_arithmetic_is_off_is_refused(changes: dict[str, Any], why: str) -> None:
    check_shares(SHARED, SETTLED, PARAMS)
    with pytest.raises(ProofFailed, match=why):
        check_shares(SHARED, replace(SETTLED, **changes), PARAMS)


@pytest.mark.parametrize(
    ("kind", "row_id", "changes", "why"),
    [
        (Frozen, SETTLED.frozen_first, {"counts": ((0, 0, 1),)}, "the frozen cohorts count"),
        (Frozen, SETTLED.frozen_first, {"period": 1}, "ascending birth month"),
        (Frozen, SETTLED.frozen_first, {"plan": 1}, "ascending birth month"),
        (Settlement, SHARED, {"charged_fen": SETTLED.charged_fen - 1, "excess_fen": SETTLED.excess_fen + 1}, "charged"),
        (Settlement, SHARED, {"index": ((1, 1), (2, 2))}, "running sums"),
        (Settlement, SHARED, {"counts": ((1, SETTLED.counts[0][1]),)}, "settlements"),
    ],
)
def test_a_settlement_that_its_rows_contradict_is_refused(
    kind: Any, row_id: int, changes: dict[str, Any], why: str
) -> None:
    store = altered(kind, row_id, **changes)
    with pytest.raises(ProofFailed, match=why):
        rows_needed(store, SettlementProof(SHARED))


def altered(kind: Any, row_id: int, **changes: Any) -> MemoryStore:
    """The certified state with one row changed, and its root with it: as if q validators had certified a mistake."""
    fork = CHAIN.fork()
    overlay = Overlay(fork.store)
    state = State(overlay, BlockContext(GENESIS.chain_id, 1, 1, 1, bytes(32), bytes(64)))
    state.put(row_id, replace(state.get(kind, row_id), **changes))
    state.root()
    fork.store.write(overlay.batch())
    return fork.store


def test_a_bill_that_its_rows_contradict_is_refused() -> None:
    subject = statement_of(BEFORE, RETURNED)
    with pytest.raises(ProofFailed, match="over is not"):
        rows_needed(altered(Settlement, SHARED, over_fen=SETTLED.over_fen + 1), statement_of(BEFORE, 0))
    early = next(row_id for row_id, row in STATE.rows(Settlement) if row.charged_fen)
    with pytest.raises(ProofFailed, match="running sums do not differ by its share"):
        rows_needed(altered(Settlement, early, index=((1, 1), (2, 3))), statement_of(BEFORE, 0))
    with pytest.raises(ProofFailed, match="do not add up to the bill"):
        rows_needed(altered(Member, RETURNED, billed_fen=1), subject)
    with pytest.raises(ProofFailed, match="counts nobody"):
        rows_needed(altered(Frozen, subject.frozen[0], counts=((17, 3, 100),)), subject)


# ---- a draw ----------------------------------------------------------------------------------------------------------


def test_every_draw_is_recomputed_from_the_beacons() -> None:
    for row_id, row in STATE.rows(Draw):
        answer = verify(file_of(CHAIN, BEFORE, DrawProof(row_id)), GENESIS, DrawProof)
        assert answer.figures["seed"] == row.running.hex()
    assert "firm-a, firm-b" in sentences(answer, recomputed=True)
    assert "if all these assessors stood for it" in pick_for_claim(answer, 0).text


@pytest.mark.parametrize(
    "changes", [{"running": bytes(32)}, {"blocks": 4}, {"creators": ()}, {"opened_height": 100}, {"closed_height": 140}]
)
def test_a_draw_that_the_headers_contradict_is_refused(changes: dict[str, Any]) -> None:
    chain = verify_chain(genesis_trust(GENESIS), headers(CHAIN))
    newest = STATE.length(Draw) - 1
    with pytest.raises(ProofFailed, match="the beacons of the headers give another draw"):
        draw_sums(StateReader(altered(Draw, newest, **changes)), newest, chain, GENESIS.params)


def test_a_draw_needs_the_headers_from_its_opening_on() -> None:
    raw = file_of(CHAIN, BEFORE, DrawProof(0), first=141)
    with pytest.raises(ProofFailed, match="the file has no such header"):
        verify(raw, GENESIS, DrawProof, trusted_hash=header_hash(encode(CHAIN.blocks[139].header)))


def test_a_draw_is_recomputed_under_the_genesis_file_s_parameters() -> None:
    chain = verify_chain(genesis_trust(GENESIS), headers(CHAIN))
    with pytest.raises(ProofFailed, match="parameters are not those of the genesis"):
        draw_sums(STATE, 0, chain, replace(GENESIS.params, heartbeat_ms=1))


def test_an_open_draw_proves_nothing() -> None:
    chain = verify_chain(genesis_trust(GENESIS), headers(CHAIN))
    with pytest.raises(ProofFailed, match="still open"):
        draw_sums(StateReader(altered(Draw, 0, closed_height=0)), 0, chain, GENESIS.params)


def test_a_beacon_that_its_creator_could_not_give_is_refused() -> None:
    chain = verify_chain(genesis_trust(GENESIS), headers(CHAIN))
    assert chain.beacon_of(20) == CHAIN.blocks[19].header.beacon
    twisted = {**chain.headers, 20: replace(chain.headers[20], beacon=bytes(64))}
    with pytest.raises(ProofFailed, match="beacon of header 20"):
        replaced(chain, headers=twisted).beacon_of(20)
    stranger = {**chain.headers, 20: replace(chain.headers[20], creator=seed("nobody"))}
    with pytest.raises(ProofFailed, match="no validator of this height"):
        replaced(chain, headers=stranger).beacon_of(20)


# ---- every byte ------------------------------------------------------------------------------------------------------

FILES: list[tuple[bytes, Any]] = [
    (file_of(CHAIN, BEFORE, statement_of(BEFORE, RETURNED), first=141), Statement),
    (file_of(CHAIN, BEFORE, SettlementProof(SHARED), first=141), SettlementProof),
    (file_of(CHAIN, BEFORE, DrawProof(STATE.length(Draw) - 1), first=120), DrawProof),
    (inclusion_file(), Inclusion),
]
"""They begin late, so that the bytes of rows and subject are not lost among those of headers."""


@given(st.integers(0, len(FILES) - 1), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
@settings(max_examples=500, deadline=None)
def test_any_changed_byte_of_a_file_is_refused_and_named(which: int, where: float, change: int) -> None:
    raw, kind = FILES[which]
    changed = bytearray(raw)
    changed[int(where * len(raw))] ^= change
    with pytest.raises(ProofFailed) as caught:
        verify(bytes(changed), GENESIS, kind, trusted_hash=trusted(raw))
    assert caught.value.where
    assert caught.value.why


@pytest.mark.parametrize("which", range(len(FILES)))
def test_any_changed_byte_of_the_ends_is_refused(which: int) -> None:
    """Names, numbers and the subject stand at both ends, where a random byte seldom falls."""
    raw, kind = FILES[which]
    for at in (*range(60), *range(len(raw) - 90, len(raw), 2)):
        changed = bytearray(raw)
        changed[at] ^= 1
        with pytest.raises(ProofFailed):
            verify(bytes(changed), GENESIS, kind, trusted_hash=trusted(raw))


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_rubbish_is_no_file(raw: bytes) -> None:
    with pytest.raises(ProofFailed, match="file"):
        verify(raw, GENESIS, Statement)


@pytest.mark.parametrize("which", range(len(FILES)))
def test_a_cut_or_longer_file_is_refused(which: int) -> None:
    raw, kind = FILES[which]
    for wrong in (raw[:-1], raw + b"\x00", raw[: len(raw) // 2]):
        with pytest.raises(ProofFailed):
            verify(wrong, GENESIS, kind, trusted_hash=trusted(raw))


def test_any_changed_byte_of_the_genesis_is_refused() -> None:
    raw = GENESIS.raw
    changed = replaced(GENESIS, raw=raw, chain_id=header_hash(raw + b" "))
    assert isinstance(changed, Genesis)
    with pytest.raises(ProofFailed, match="chain id"):
        verify(statement_file(0), changed, Statement)
