"""The order of proposers, and the skip rule (CONSENSUS §2)."""

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from consensus.proposer import proposer_order
from ledger.proposers import charge, eligible, failed, order, proposer, skips, skips_before
from ledger.rows import Validator
from ledger.votes import ValidatorEntry, faults


def entries(n: int) -> tuple[ValidatorEntry, ...]:
    return tuple(ValidatorEntry(seat, seat, b"", sha256(bytes((seat,))).digest(), b"") for seat in range(n))


def row(fails: int = 0, skipped_until: int = 0, changed: int = 0, previous: int = 0) -> Validator:
    return Validator(0, b"", b"", True, fails, skipped_until, changed, previous)


def test_the_order_is_by_the_hash_of_beacon_height_and_key() -> None:
    ordered = order(b"b" * 64, 7, entries(5))
    digests = [sha256(b"b" * 64 + (7).to_bytes(8, "big") + entry.validator_key).digest() for entry in ordered]
    assert digests == sorted(digests)
    assert order(b"b" * 64, 8, entries(5)) != ordered
    assert [proposer(ordered, r) for r in range(7)] == [*ordered, *ordered[:2]]


def test_without_failures_everybody_is_eligible() -> None:
    assert eligible(entries(4), {}, 9) == entries(4)


def test_a_skipped_seat_comes_back_at_its_height_and_not_before() -> None:
    assert [entry.seat for entry in eligible(entries(4), {2: 10}, 9)] == [0, 1, 3]
    assert eligible(entries(4), {2: 10}, 10) == entries(4)


def test_at_most_the_f_latest_are_skipped() -> None:
    assert [entry.seat for entry in eligible(entries(7), {0: 20, 1: 30, 2: 25}, 9)] == [0, 3, 4, 5, 6]
    assert [entry.seat for entry in eligible(entries(3), {0: 20}, 9)] == [0, 1, 2]


@given(st.integers(1, 13), st.dictionaries(st.integers(0, 12), st.integers(0, 50)), st.integers(1, 50))
def test_a_quorum_is_always_eligible(n: int, until: dict[int, int], height: int) -> None:
    assert len(eligible(entries(n), until, height)) >= n - faults(n)


def test_each_failure_doubles_the_time_up_to_64() -> None:
    rows = {0: row(), 1: row()}
    lengths = []
    for number in range(9):
        height = 1_000_000 * (number + 1)
        rows |= charge(rows, [0], height, 4)
        lengths.append(rows[0].skipped_until - height)
    assert lengths == [8, 16, 32, 64, 128, 256, 256, 256, 256]
    assert rows[1] == row()


def test_two_charged_together_come_back_one_after_the_other() -> None:
    changed = charge({0: row(), 1: row(), 2: row()}, [2, 0], 100, 4)
    assert (changed[2].skipped_until, changed[0].skipped_until) == (108, 112)


def test_the_rows_before_a_block_can_be_told_from_those_after_it() -> None:
    rows = {0: row(1, 30, 20, 11), 1: row()}
    rows |= charge(rows, [0], 50, 4)
    assert skips(rows) == {0: 66, 1: 0}
    assert skips_before(rows, 50) == {0: 30, 1: 0}
    assert skips_before(rows, 51) == skips(rows)


def test_each_failed_proposer_is_charged_once_however_many_rounds_failed() -> None:
    ordered = order(b"b" * 64, 7, entries(4))
    seats = tuple(entry.seat for entry in ordered)
    assert failed(ordered, 0) == ()
    assert failed(ordered, 2) == seats[:2]
    assert failed(ordered, 1_000_000) == seats


def test_the_protocol_and_the_ledger_agree_on_the_order() -> None:
    validators = entries(7)
    for height in range(1, 20):
        able = eligible(validators, {1: 10, 4: 15}, height)
        seats = {entry.seat for entry in able}
        theirs = proposer_order(b"b" * 64, height, validators, seats)
        assert [validators[index] for index in theirs] == list(order(b"b" * 64, height, able))
