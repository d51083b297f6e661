"""What every `ledger.store.Store` promises, as one test class; a store's own test module subclasses it."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ledger.errors import InvariantViolation
from ledger.store import Batch, Snapshot, Store

KEYS = st.one_of(st.binary(max_size=3), st.sampled_from([b"", b"\x00", b"a", b"a\x00", b"b", b"\xff\xff\xff"]))
BOUNDS = KEYS | st.sampled_from([b"", b"\xff" * 4])
VALUES = st.one_of(st.just(b""), st.binary(max_size=40))
CHANGES = st.dictionaries(KEYS, st.none() | VALUES, max_size=12)
Pairs = list[tuple[bytes, bytes]]


def model_scan(model: dict[bytes, bytes], start: bytes, stop: bytes, reverse: bool) -> Pairs:
    """The scan of a dict: the definition that stores and overlays are compared with."""
    return sorted(((key, model[key]) for key in model if start <= key < stop), reverse=reverse)


def apply_changes(model: dict[bytes, bytes], changes: dict[bytes, bytes | None]) -> None:
    for key, value in changes.items():
        if value is None:
            model.pop(key, None)
        else:
            model[key] = value


class StoreMachine(RuleBasedStateMachine):
    """Random batches, scans, snapshots and (where there is something to reopen) restarts, against a dict."""

    def open(self) -> Store:
        raise InvariantViolation("a subclass opens the store under test")

    def reopen(self) -> Store:
        """Close and open again; the default is for a store that only lives in memory."""
        return self.store

    def __init__(self) -> None:
        super().__init__()
        self.store = self.open()
        self.model: dict[bytes, bytes] = {}
        self.snapshots: list[tuple[Snapshot, dict[bytes, bytes]]] = []

    @rule(changes=CHANGES)
    def write(self, changes: dict[bytes, bytes | None]) -> None:
        self.store.write(Batch(changes))
        apply_changes(self.model, changes)

    @rule(key=KEYS)
    def get(self, key: bytes) -> None:
        assert self.store.get(key) == self.model.get(key)

    @rule(keys=st.lists(KEYS, max_size=8))
    def get_many(self, keys: list[bytes]) -> None:
        assert self.store.get_many(keys) == [self.model.get(key) for key in keys]

    @rule(start=BOUNDS, stop=BOUNDS, reverse=st.booleans())
    def scan(self, start: bytes, stop: bytes, reverse: bool) -> None:
        assert list(self.store.scan(start, stop, reverse=reverse)) == model_scan(self.model, start, stop, reverse)

    @rule(changes=CHANGES, reverse=st.booleans())
    def write_during_a_scan(self, changes: dict[bytes, bytes | None], reverse: bool) -> None:
        expected = model_scan(self.model, b"", b"\xff" * 4, reverse)
        scan = self.store.scan(b"", b"\xff" * 4, reverse=reverse)
        seen = [pair for pair in [next(scan, None)] if pair is not None]
        self.write(changes)
        assert seen + list(scan) == expected

    @rule()
    def take_snapshot(self) -> None:
        self.snapshots.append((self.store.snapshot(), dict(self.model)))

    @rule()
    def close_oldest_snapshot(self) -> None:
        if self.snapshots:
            self.snapshots.pop(0)[0].close()

    @rule()
    def restart(self) -> None:
        self.close_snapshots()
        self.store = self.reopen()

    @invariant()
    def snapshots_never_change(self) -> None:
        for snapshot, model in self.snapshots:
            assert list(snapshot.scan(b"", b"\xff" * 4)) == model_scan(model, b"", b"\xff" * 4, False)
            for key in (b"", b"a", b"b"):
                assert snapshot.get(key) == model.get(key)
            assert snapshot.get_many([b"b", b"", b"b"]) == [model.get(key) for key in (b"b", b"", b"b")]

    def close_snapshots(self) -> None:
        for snapshot, _ in self.snapshots:
            snapshot.close()
        self.snapshots.clear()

    def teardown(self) -> None:
        self.close_snapshots()
        self.store.close()


MACHINE_SETTINGS = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


class StoreContract(ABC):
    """Sentences of the contract that a random walk would not name."""

    @abstractmethod
    def open(self) -> Store: ...

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        with closing(self.open()) as store:
            yield store

    def test_a_missing_key_is_none_and_an_empty_value_is_a_value(self, store: Store) -> None:
        store.write(Batch({b"k": b""}))
        assert store.get(b"k") == b""
        assert store.get(b"x") is None

    def test_deleting_a_missing_key_is_no_error(self, store: Store) -> None:
        store.write(Batch({b"k": None}))
        assert store.get(b"k") is None

    def test_a_scan_includes_its_start_and_excludes_its_stop(self, store: Store) -> None:
        store.write(Batch({b"a": b"1", b"b": b"2", b"c": b"3"}))
        assert list(store.scan(b"a", b"c")) == [(b"a", b"1"), (b"b", b"2")]
        assert list(store.scan(b"a", b"c", reverse=True)) == [(b"b", b"2"), (b"a", b"1")]
        assert list(store.scan(b"a", b"a")) == list(store.scan(b"c", b"a")) == []

    def test_keys_are_ordered_as_bytes(self, store: Store) -> None:
        keys = [b"", b"\x00", b"a", b"a\x00", b"a\xff", b"b", b"\xff"]
        store.write(Batch(dict.fromkeys(reversed(keys), b"")))
        assert [key for key, _ in store.scan(b"", b"\xff\xff")] == keys

    def test_every_bounded_scan_of_a_few_keys_is_the_slice(self, store: Store) -> None:
        """plyvel loses the only key of a reverse range when it equals the start."""
        universe = [b"", b"a", b"a\x00", b"b", b"\xff", b"\xff\xff"]
        model = {b"": b"0", b"a\x00": b"1", b"\xff": b"2"}
        store.write(Batch({**model, b"gone": b"x"}))
        store.write(Batch({b"gone": None}))
        with store.snapshot() as snapshot:
            for start, stop, reverse in itertools.product(universe, universe, (False, True)):
                expected = model_scan(model, start, stop, reverse)
                assert list(store.scan(start, stop, reverse=reverse)) == expected
                assert list(snapshot.scan(start, stop, reverse=reverse)) == expected

    def test_a_scan_shows_the_moment_it_was_asked_for(self, store: Store) -> None:
        store.write(Batch({b"a": b"1", b"b": b"2"}))
        asked = store.scan(b"a", b"z")
        store.write(Batch({b"a": b"9", b"b": None, b"c": b"3"}))
        assert list(asked) == [(b"a", b"1"), (b"b", b"2")]

    def test_a_snapshot_is_a_context_manager_and_refuses_reads_afterwards(self, store: Store) -> None:
        with store.snapshot() as snapshot:
            assert snapshot.get(b"a") is None
        with pytest.raises(InvariantViolation, match="closed"):
            snapshot.get(b"a")
        with pytest.raises(InvariantViolation, match="closed"):
            list(snapshot.scan(b"a", b"b"))

    def test_a_closed_store_refuses_everything(self, store: Store) -> None:
        store.close()
        with pytest.raises(InvariantViolation, match="closed"):
            store.get(b"a")
        with pytest.raises(InvariantViolation, match="closed"):
            list(store.scan(b"a", b"b"))
        with pytest.raises(InvariantViolation, match="closed"):
            store.write(Batch({b"a": b""}))
        with pytest.raises(InvariantViolation, match="closed"):
            store.snapshot()

    def test_thousands_of_keys_in_one_batch_come_back_in_order(self, store: Store) -> None:
        keys = [(i * 7919 % 5003).to_bytes(2, "big") for i in range(5003)]
        store.write(Batch({key: key * 2 for key in keys}))
        store.write(Batch(dict.fromkeys(keys[::2])))
        assert [key for key, _ in store.scan(b"", b"\xff\xff")] == sorted(keys[1::2])
