"""What SafetyRules signs and refuses (CONSENSUS §1)."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.effects import SignRequest
from consensus.logstate import LogState, SignedKind
from consensus.messages import Lock, SignedPrepare
from consensus.records import AdoptRecord, DecidedRecord, FirstRecord, LockRecord, ProposalRecord, Record, VoteRecord
from consensus.safety import SafetyRules, SigningRefused
from consensus.scheme import ED25519
from ledger.blocks import SignedVote
from ledger.errors import InvariantViolation
from ledger.signing import verify
from ledger.votes import Commit, Prepare, Proposal, RoundChange
from tests.consensus.harness import CHAIN_ID, FAST, seed_of, validator_set

X, Y = b"\1" * 32, b"\2" * 32
ME = 0
KEYS = tuple(entry.validator_key for entry in validator_set(4))


def signed_prepare(index: int, round: int, hash: bytes, height: int = 1) -> SignedPrepare:
    message = Prepare(height, round, hash)
    return SignedPrepare(message, index, FAST.sign(seed_of(index), message.signing_digest(CHAIN_ID, 0)))


def lock_of(round: int, hash: bytes, indexes: Iterable[int] = range(3), height: int = 1) -> LockRecord:
    return LockRecord(0, Lock(height, round, hash, tuple(signed_prepare(i, round, hash, height) for i in indexes)), 4)


def rules(records: Iterable[Record] = (), height: int = 1) -> SafetyRules:
    safety = SafetyRules(CHAIN_ID, [seed_of(ME)], bytes(32), records, FAST)
    safety.begin(0, height, KEYS)
    return safety


def ask(safety: SafetyRules, message: SignedKind, *, before: tuple[Record, ...] = ()) -> bytes:
    """Persist the intent, then ask for the signature, as the core does."""
    intent = ProposalRecord(0, message, (), ()) if isinstance(message, Proposal) else VoteRecord(0, message)
    safety.recorded([*before, intent])
    return safety.sign(SignRequest(0, message, KEYS[ME]))


def refuses(safety: SafetyRules, message: SignedKind, why: str, *, before: tuple[Record, ...] = ()) -> None:
    with pytest.raises(SigningRefused, match=why):
        ask(safety, message, before=before)


def locked(round: int = 0, hash: bytes = X) -> SafetyRules:
    safety = rules()
    ask(safety, Prepare(1, round, hash))
    ask(safety, Commit(1, round, hash), before=(lock_of(round, hash),))
    return safety


def test_a_signature_is_for_this_chain_epoch_and_kind() -> None:
    seed = seed_of(ME)
    safety = SafetyRules(CHAIN_ID, [seed], bytes(32), [])
    key = ED25519.public_key(seed)
    safety.begin(0, 1, (key,))
    message = Prepare(1, 0, X)
    safety.recorded([VoteRecord(0, message)])
    signature = safety.sign(SignRequest(0, message, key))
    assert verify(key, message.signing_digest(CHAIN_ID, 0), signature)
    assert not verify(key, message.signing_digest(CHAIN_ID, 1), signature)


def test_nothing_is_signed_before_its_intent_is_durable() -> None:
    with pytest.raises(SigningRefused, match="not durable"):
        rules().sign(SignRequest(0, Prepare(1, 0, X), KEYS[ME]))


def test_asked_again_it_gives_the_same_bytes() -> None:
    safety = rules()
    assert ask(safety, Prepare(1, 0, X)) == ask(safety, Prepare(1, 0, X))


@pytest.mark.parametrize("kind", [Proposal, Prepare])
def test_a_different_message_in_the_same_slot_is_refused(kind: type[Proposal] | type[Prepare]) -> None:
    safety = rules()
    ask(safety, kind(1, 0, X))
    refuses(safety, kind(1, 0, Y), "a different")


def test_a_round_change_abandons_every_lower_round() -> None:
    safety = rules()
    ask(safety, Prepare(1, 0, X))
    ask(safety, RoundChange(1, 2, -1, b""))
    refuses(safety, Commit(1, 0, X), "is past", before=(lock_of(0, X),))
    refuses(safety, Prepare(1, 1, X), "is past")
    refuses(safety, Proposal(1, 1, X), "is past")
    refuses(safety, RoundChange(1, 1, -1, b""), "is past")
    ask(safety, Prepare(1, 2, Y))


def test_any_vote_in_a_higher_round_abandons_the_lower_ones() -> None:
    safety = rules()
    ask(safety, Prepare(1, 3, X))
    refuses(safety, Prepare(1, 2, X), "is past")
    refuses(safety, RoundChange(1, 2, -1, b""), "is past")
    ask(safety, RoundChange(1, 3, -1, b""))


def test_a_commit_needs_our_own_prepare_of_that_hash_in_that_round() -> None:
    refuses(rules(), Commit(1, 0, X), "our own Prepare", before=(lock_of(0, X),))
    safety = rules()
    ask(safety, Prepare(1, 0, X))
    refuses(safety, Commit(1, 0, Y), "our own Prepare", before=(lock_of(0, Y),))
    safety = rules()
    ask(safety, Prepare(1, 0, X))
    refuses(safety, Commit(1, 1, X), "our own Prepare", before=(lock_of(1, X),))


@pytest.mark.parametrize(
    "lock", [lock_of(0, Y), lock_of(1, X), lock_of(0, X, range(2)), lock_of(0, X, (0, 1, 1)), lock_of(0, X, (0, 1, 7))]
)
def test_a_commit_needs_q_prepares_of_its_round_and_hash_in_the_record(lock: LockRecord) -> None:
    safety = rules()
    ask(safety, Prepare(1, 0, X))
    refuses(safety, Commit(1, 0, X), "q Prepares", before=(lock,))


def test_the_quorum_of_a_lock_is_counted_over_the_real_set() -> None:
    safety = rules()
    ask(safety, Prepare(1, 0, X))
    small = LockRecord(0, lock_of(0, X, range(1)).lock, 1)
    with pytest.raises(SigningRefused, match="counted over 1 of 4"):
        safety.recorded([small])


def test_a_round_change_tells_the_lock_of_the_record() -> None:
    safety = locked()
    refuses(safety, RoundChange(1, 1, -1, b""), "not the record's")
    refuses(safety, RoundChange(1, 1, 0, Y), "not the record's")
    ask(safety, RoundChange(1, 1, 0, X))


def test_a_round_change_targets_above_zero_and_above_its_prepared_round() -> None:
    refuses(rules(), RoundChange(1, 0, -1, b""), "above 0")
    refuses(locked(2), RoundChange(1, 2, 2, X), "above its prepared round")


def test_q_prepares_alone_are_no_lock_before_the_commit() -> None:
    safety = rules()
    ask(safety, Prepare(1, 0, X))
    safety.recorded([lock_of(0, X)])
    ask(safety, RoundChange(1, 1, -1, b""))


def test_a_higher_lock_replaces_a_lower_one() -> None:
    safety = locked()
    ask(safety, RoundChange(1, 1, 0, X))
    ask(safety, Prepare(1, 1, Y))
    ask(safety, Commit(1, 1, Y), before=(lock_of(1, Y),))
    ask(safety, RoundChange(1, 2, 1, Y))


def test_nothing_is_signed_at_a_decided_height() -> None:
    safety = locked()
    safety.begin(0, 2, KEYS)
    refuses(safety, Prepare(1, 5, X), "open height")
    refuses(safety, Commit(1, 0, X), "open height")
    ask(safety, Prepare(2, 0, X))


def test_nothing_is_signed_below_the_record_of_a_log_that_is_ahead() -> None:
    ahead: list[Record] = [VoteRecord(0, Prepare(7, 0, X))]
    refuses(rules(ahead, height=6), Prepare(6, 0, X), "open height")


def test_a_height_is_not_opened_twice_backwards() -> None:
    safety = rules(height=3)
    with pytest.raises(InvariantViolation):
        safety.begin(0, 2, KEYS)


def test_an_old_epoch_is_over_and_its_locks_are_void() -> None:
    safety = locked()
    safety.begin(1, 1, KEYS)
    refuses(safety, RoundChange(1, 1, 0, X), "open height")
    message = RoundChange(1, 1, -1, b"")
    safety.recorded([VoteRecord(1, message)])
    assert safety.sign(SignRequest(1, message, KEYS[ME]))


def test_an_unknown_key_signs_nothing() -> None:
    safety = rules()
    safety.recorded([VoteRecord(0, Prepare(1, 0, X))])
    with pytest.raises(SigningRefused, match="no validator key"):
        safety.sign(SignRequest(0, Prepare(1, 0, X), KEYS[1]))


def own_vote(message: SignedKind) -> SignedVote:
    return SignedVote(message, ME, FAST.sign(seed_of(ME), message.signing_digest(CHAIN_ID, 0)))


def test_adopted_messages_bind_as_if_signed_here() -> None:
    safety = rules()
    safety.recorded([AdoptRecord(0, (own_vote(Prepare(1, 2, X)),), None)])
    refuses(safety, Prepare(1, 2, Y), "a different")
    refuses(safety, Prepare(1, 1, X), "is past")
    assert ask(safety, Prepare(1, 2, X)) == own_vote(Prepare(1, 2, X)).signature


def test_an_adopted_lock_makes_its_round_the_current_one() -> None:
    safety = rules()
    safety.recorded([AdoptRecord(0, (), lock_of(3, X))])
    refuses(safety, Prepare(1, 2, Y), "is past")
    refuses(safety, RoundChange(1, 4, -1, b""), "not the record's")
    ask(safety, RoundChange(1, 4, 3, X))


def test_adoption_only_ever_raises() -> None:
    safety = locked(4, Y)
    safety.recorded([AdoptRecord(0, (), lock_of(3, X))])
    ask(safety, RoundChange(1, 5, 4, Y))
    record = LogState([VoteRecord(0, Prepare(1, 0, X))])
    record.apply(AdoptRecord(0, (own_vote(Prepare(1, 0, Y)),), None))
    assert record.signed(Prepare, 0) == Prepare(1, 0, X)


def test_our_own_returned_commit_or_round_change_tells_a_lock() -> None:
    for message in (Commit(1, 2, X), RoundChange(1, 5, 2, X)):
        record = LogState([AdoptRecord(0, (own_vote(message),), None)])
        assert record.lock == Lock(1, 2, X, ())
        assert record.fault(0, RoundChange(1, 6, -1, b"")) is not None
        record.apply(AdoptRecord(0, (), lock_of(2, X)))
        assert record.lock is not None
        assert len(record.lock.prepares) == 3


def test_what_is_not_ours_or_does_not_hold_is_not_adopted() -> None:
    foreign = SignedVote(Prepare(1, 0, X), ME, bytes(64))
    with pytest.raises(SigningRefused, match="not signed by our key"):
        rules().recorded([AdoptRecord(0, (foreign,), None)])
    forged = lock_of(0, X).lock.prepares
    broken = Lock(1, 0, X, (*forged[:2], SignedPrepare(forged[2].message, 2, bytes(64))))
    with pytest.raises(SigningRefused, match="does not verify"):
        rules().recorded([AdoptRecord(0, (), LockRecord(0, broken, 4))])
    outside = Lock(1, 0, X, (*forged[:2], SignedPrepare(forged[2].message, 4, bytes(64))))
    with pytest.raises(SigningRefused, match="nobody"):
        rules().recorded([AdoptRecord(0, (), LockRecord(0, outside, 4))])


def test_an_adoption_that_became_durable_after_its_height_was_decided_changes_nothing() -> None:
    safety = rules()
    safety.begin(0, 2, tuple(reversed(KEYS)))
    safety.recorded([AdoptRecord(0, (), lock_of(3, X))])
    ask(safety, Prepare(2, 0, X))


def test_a_lock_below_quorum_is_not_adopted() -> None:
    record = LogState([AdoptRecord(0, (), lock_of(3, X, range(2)))])
    assert record.lock is None


def test_a_message_of_a_later_height_closes_the_earlier_ones() -> None:
    safety = rules()
    safety.recorded([AdoptRecord(0, (own_vote(Prepare(5, 0, X)),), None)])
    refuses(safety, Prepare(1, 0, X), "open height")


def test_a_decided_mark_closes_its_height() -> None:
    record = LogState([FirstRecord(CHAIN_ID, KEYS[ME], False), VoteRecord(0, Prepare(4, 0, X)), DecidedRecord(0, 4)])
    assert (record.height, record.granted) == (5, {})


def test_the_beacon_proof_is_of_the_beacon_key() -> None:
    assert rules().beacon_proof(b"alpha") == FAST.prove(bytes(32), b"alpha")


votes = st.builds(
    lambda kind, round, hash: kind(1, round, hash),
    st.sampled_from([Prepare, Commit]),
    st.integers(0, 3),
    st.sampled_from([X, Y]),
)
changes = st.builds(
    lambda round, prepared: RoundChange(1, round, *prepared),
    st.integers(0, 4),
    st.sampled_from([(-1, b""), (0, X), (1, Y), (2, X)]),
)
records = st.lists(
    st.one_of(
        st.builds(VoteRecord, st.just(0), st.one_of(votes, changes)),
        st.builds(lock_of, st.integers(0, 3), st.sampled_from([X, Y])),
    ),
    max_size=14,
)


@settings(max_examples=150, deadline=None)
@given(records)
def test_whatever_is_asked_the_granted_messages_never_contradict(history: list[Record]) -> None:
    record = LogState()
    order: list[SignedKind] = []
    for item in history:
        before = dict(record.granted)
        record.apply(item)
        order += [message for slot, message in record.granted.items() if slot not in before]
        assert all(record.granted[slot] == message for slot, message in before.items())
    assert [m.round for m in order] == sorted(m.round for m in order)
    for change in (m for m in order if isinstance(m, RoundChange)):
        for commit in (m for m in order if isinstance(m, Commit)):
            assert not change.round > commit.round > change.prepared_round


@settings(max_examples=60, deadline=None)
@given(records)
def test_replaying_the_log_gives_the_same_record(history: list[Record]) -> None:
    live = LogState()
    for item in history:
        live.apply(item)
    again = LogState(history)
    assert (again.granted, again.lock, again.round) == (live.granted, live.lock, live.round)


def test_around_a_rotation_the_key_and_the_beacon_are_those_that_the_set_names() -> None:
    old, new = seed_of(1), seed_of(9)
    safety = SafetyRules(CHAIN_ID, [old, new], b"b" * 32, [], FAST, next_beacon_seed=b"n" * 32)
    others = tuple(FAST.public_key(seed_of(index)) for index in (0, 2, 3))
    safety.begin(0, 1, (*others, FAST.public_key(old)))
    assert safety.beacon_proof(b"alpha") == FAST.prove(b"b" * 32, b"alpha")
    safety.begin(0, 2, (*others, FAST.public_key(new)))
    assert safety.beacon_proof(b"alpha") == FAST.prove(b"n" * 32, b"alpha")
    vote = VoteRecord(0, Prepare(2, 0, bytes(32)))
    safety.recorded([vote])
    digest = vote.message.signing_digest(CHAIN_ID, 0)
    signature = safety.sign(SignRequest(0, vote.message, FAST.public_key(new)))
    assert FAST.verify(FAST.public_key(new), digest, signature)
