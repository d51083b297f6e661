"""The jury's draw against the words of LEDGER §7, hash by hash, and a jury's small print: asked for by mutants."""

from hashlib import sha256

import pytest
from msgspec.structs import replace

from ledger import jury
from ledger import transactions as tx
from ledger.claim_table import ClaimState, Judge
from ledger.deadlines import DeadlineKind
from ledger.disputes import Exclusion
from ledger.jury import TRIES_PER_SEAT, Vote, commitment, draw_panel, verdict
from ledger.rows import Member, Plan
from tests.ledger.claim_kit import PARAMS, commit, dispute, panel, person, row, voted
from tests.ledger.test_jury import _state, drawn
from tests.ledger.test_life import SALT

RANGE = 2**64


def by_hand(seed: bytes, jurors: int, size: int, fit: set[int]) -> tuple[list[int], list[int]]:
    """(drawn, rejected): a number a hash, 64 hashes a seat; then everybody in a row from a drawn place on."""
    chosen: list[int] = []
    rejected: list[int] = []
    index = 0

    def number() -> int | None:
        nonlocal index
        value = int.from_bytes(sha256(seed + index.to_bytes(8, "big")).digest()[:8], "big")
        index += 1
        return None if value >= RANGE - RANGE % jurors else value % jurors

    def hit(juror: int) -> None:
        if juror not in chosen + rejected and len(chosen) < size:
            (chosen if juror in fit else rejected).append(juror)

    while jurors and index < 64 * size and len(chosen) < size:
        found = number()
        if found is not None:
            hit(found)
    if jurors and len(chosen) < size:
        start = None
        while start is None:
            start = number()
        for step in range(min(jurors, 64 * size)):
            if len(chosen) < size:
                hit((start + step) % jurors)
    return chosen, rejected


@pytest.mark.parametrize("number", range(60))
def test_the_draw_is_the_one_of_the_rules_hash_by_hash(number: int) -> None:
    seed = sha256(bytes((number,))).digest()
    jurors = (0, 1, 2, 7, 40, 300, 1_000)[number % 7]
    size = (1, 2, 3, 9)[number % 4]
    fit = set(range(number % 5, jurors, (1, 3, 40, 299)[number // 7 % 4]))
    chosen, rejected = draw_panel(seed, jurors, size, lambda juror: 0 if juror in fit else 5)
    assert (list(chosen), [juror for juror, _ in rejected]) == by_hand(seed, jurors, size, fit)
    assert {reason for _, reason in rejected} <= {5}


def test_a_seat_has_64_tries() -> None:
    assert TRIES_PER_SEAT == 64


@pytest.mark.parametrize(("arrears", "reason"), [(0, 0), (1, Exclusion.ARREARS)])
def test_one_fen_of_arrears_is_too_much_to_judge(arrears: int, reason: int) -> None:
    chain, claim = drawn()
    state = _state(chain)
    member = replace(state.get(Member, person(5)), fail_period=27, fails=1, arrears_fen=arrears)
    state.put(person(5), member)
    plan = replace(state.get(Plan, 0), last_charged=27)
    assert jury._unfit(state, 5, row(chain, claim), dispute(chain, claim), plan, PARAMS) == reason


def test_a_commitment_returns_the_number_of_its_ballot() -> None:
    chain, claim = drawn()
    for at, number in enumerate(panel(chain, claim)[:2]):
        juror = dispute(chain, claim).drawn[at]
        hidden = commitment(row(chain, claim).dispute, juror, Vote.CLEAR, SALT)
        assert chain.ok(f"person {number}", tx.CommitBallot(person(number), claim, hidden)) == (at,)


def test_the_quorum_stands_at_its_number_and_the_majority_above_one_half() -> None:
    outcomes = {
        (clear, refuse): verdict(clear, refuse, 100).name
        for clear, refuse in ((99, 0), (100, 0), (0, 99), (0, 100), (50, 50), (51, 49), (49, 51), (51, 50), (50, 51))
    }
    assert outcomes == {
        (99, 0): "NO_QUORUM",
        (100, 0): "CLEARED",
        (0, 99): "NO_QUORUM",
        (0, 100): "REFUSED",
        (50, 50): "NO_QUORUM",
        (51, 49): "CLEARED",
        (49, 51): "REFUSED",
        (51, 50): "CLEARED",
        (50, 51): "REFUSED",
    }


def test_the_scan_stops_when_the_last_seat_is_filled() -> None:
    fit = set(range(500, 510))
    found = 0
    for number in range(400):
        seed = sha256(b"scan" + number.to_bytes(2, "big")).digest()
        chosen, rejected = by_hand(seed, 1_000, 1, fit)
        assert list(draw_panel(seed, 1_000, 1, lambda juror: 0 if juror in fit else 1)[0]) == chosen
        found += chosen == [500] and rejected[-1:] == [499]
    assert found, "no seed came to the scan"


def test_a_reveal_returns_the_count_so_far() -> None:
    chain, claim = drawn()
    first, second = panel(chain, claim)[:2]
    for number, vote in ((first, Vote.REFUSE), (second, Vote.CLEAR)):
        assert commit(chain, claim, number, vote) == "OK"
    chain.step_to(row(chain, claim).due_ms)
    assert chain.ok(f"person {first}", tx.RevealBallot(person(first), claim, Vote.REFUSE, SALT)) == (0, 1)
    assert chain.ok(f"person {second}", tx.RevealBallot(person(second), claim, Vote.CLEAR, SALT)) == (1, 1)


def test_what_is_in_rows_and_commitments_never_changes() -> None:
    assert jury.REFUSED_BY_JURY == 11
    text = b"huzhu ballot v1" + (7).to_bytes(8, "big") + (9).to_bytes(8, "big") + b"\x02" + SALT
    assert commitment(7, 9, Vote.REFUSE, SALT) == sha256(text).digest()


def test_nobody_votes_on_a_claim_that_is_not_there() -> None:
    chain, _ = drawn()
    assert chain.refused("person 1", tx.CommitBallot(person(1), 999, bytes(32))) == "UNKNOWN_CLAIM"


def test_the_receipts_of_the_windows_say_nothing_and_then_the_count() -> None:
    chain, claim = drawn()
    voter = panel(chain, claim)[0]
    assert commit(chain, claim, voter, Vote.CLEAR) == "OK"
    found = []
    for _ in range(2):
        blocks = chain.step_to(row(chain, claim).due_ms)
        receipts = [receipt for block in blocks for receipt in block.deadline_receipts]
        found += [receipt.detail for receipt in receipts if getattr(receipt.subject, "kind", 0) == DeadlineKind.BALLOTS]
        chain.block((f"person {voter}", tx.RevealBallot(person(voter), claim, Vote.CLEAR, SALT)))
    assert found == [(), (1, 0)]


def test_the_claims_row_says_that_a_jury_refused_it() -> None:
    chain, claim = drawn()
    voted(chain, claim, [Vote.REFUSE] * 9)
    found = row(chain, claim)
    assert (ClaimState(found.state), Judge(found.judge), found.reason) == (ClaimState.REFUSED_FINAL, Judge.JURY, 11)
