"""The port's in-memory store, and the overlay against a dict."""

import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import store as port
from ledger.errors import InvariantViolation
from ledger.store import Batch, MemoryStore, Overlay, Store, index_key, prefix_stop
from tests.ledger.store_contract import (
    CHANGES,
    KEYS,
    MACHINE_SETTINGS,
    VALUES,
    StoreContract,
    StoreMachine,
    apply_changes,
    model_scan,
)


class TestMemoryStore(StoreContract):
    def open(self) -> Store:
        return MemoryStore()


class MemoryMachine(StoreMachine):
    def open(self) -> Store:
        return MemoryStore()


TestMemoryMachine = MemoryMachine.TestCase
TestMemoryMachine.settings = MACHINE_SETTINGS


def test_an_abandoned_snapshot_or_scan_costs_later_writes_nothing() -> None:
    store = MemoryStore()
    store.write(Batch({b"a": b"1"}))
    store.snapshot()
    next(store.scan(b"a", b"b"))
    gc.collect()
    assert len(store._snapshots) == 0


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, VALUES),
        st.tuples(st.just("delete"), KEYS, st.just(b"")),
        st.tuples(st.just("add"), KEYS, VALUES),
        st.tuples(st.just("refuse"), KEYS, VALUES),
        st.tuples(st.just("scan"), KEYS, KEYS),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(base=CHANGES, steps=STEPS, reverse=st.booleans())
def test_an_overlay_reads_as_the_base_with_its_changes_made(
    base: dict[bytes, bytes | None], steps: list[tuple[str, bytes, bytes]], reverse: bool
) -> None:
    store = MemoryStore()
    store.write(Batch(base))
    before: dict[bytes, bytes] = {}
    apply_changes(before, base)
    model = dict(before)
    overlay = Overlay(store)
    for step, key, other in steps:
        if step == "put":
            overlay.put(key, other)
            model[key] = other
        elif step == "delete":
            overlay.delete(key)
            model.pop(key, None)
        elif step in ("add", "refuse"):
            new = {
                name: other for name in (key, key + b"+") if name not in before and name not in overlay.batch().changes
            }
            savepoint = overlay.savepoint()
            overlay.add(new)
            assert overlay.get_many([key, *new]) == [(model | new).get(key), *new.values()]
            if step == "add":
                model |= new
            else:
                overlay.restore(savepoint)
            overlay.settle()
        else:
            assert list(overlay.scan(key, other, reverse=reverse)) == model_scan(model, key, other, reverse)
        assert overlay.get(key) == model.get(key)
    assert overlay.get_many(sorted(model)) == [model[key] for key in sorted(model)]
    everything = (b"", b"\xff" * 4)
    assert list(overlay.scan(*everything, reverse=reverse)) == model_scan(model, *everything, reverse)
    assert list(store.scan(*everything)) == model_scan(before, *everything, False), "the base is untouched"

    undo = overlay.undo()
    store.write(overlay.batch())
    assert list(store.scan(*everything)) == model_scan(model, *everything, False)
    store.write(undo)
    assert list(store.scan(*everything)) == model_scan(before, *everything, False)


@settings(max_examples=60, deadline=None)
@given(base=CHANGES, lower=CHANGES, upper=CHANGES, reverse=st.booleans())
def test_overlays_stack(
    base: dict[bytes, bytes | None], lower: dict[bytes, bytes | None], upper: dict[bytes, bytes | None], reverse: bool
) -> None:
    store = MemoryStore()
    store.write(Batch(base))
    first = Overlay(store)
    first.apply(Batch(lower))
    second = Overlay(first)
    second.apply(Batch(upper))
    model: dict[bytes, bytes] = {}
    for changes in (base, lower, upper):
        apply_changes(model, changes)
    assert list(second.scan(b"", b"\xff" * 4, reverse=reverse)) == model_scan(model, b"", b"\xff" * 4, reverse)
    first.apply(second.batch())
    assert list(first.scan(b"", b"\xff" * 4, reverse=reverse)) == model_scan(model, b"", b"\xff" * 4, reverse)


def test_everything_may_be_deleted_while_it_is_scanned() -> None:
    store = MemoryStore()
    store.write(Batch({b"a": b"", b"c": b""}))
    overlay = Overlay(store)
    overlay.put(b"b", b"")
    seen = []
    for key, _ in overlay.scan(b"a", b"z"):
        seen.append(key)
        overlay.delete(key)
        overlay.put(b"d" + key, b"")
    assert seen == [b"a", b"b", b"c"]
    assert [key for key, _ in overlay.scan(b"a", b"z")] == [b"da", b"db", b"dc"]


def test_a_batch_holds_final_values_and_does_not_follow_its_overlay() -> None:
    overlay = Overlay(MemoryStore())
    overlay.put(b"a", b"1")
    overlay.put(b"a", b"2")
    overlay.delete(b"b")
    batch = overlay.batch()
    overlay.put(b"a", b"3")
    assert batch.changes == {b"a": b"2", b"b": None}
    assert (len(batch), len(overlay)) == (2, 2)
    later = Batch()
    later.put(b"c", b"4")
    later.delete(b"a")
    batch.update(later)
    assert batch.changes == {b"a": None, b"b": None, b"c": b"4"}


def test_the_key_spaces_are_distinct_single_bytes() -> None:
    assert len(set(port.SPACES)) == len(port.SPACES)
    assert all(len(space) == 1 for space in port.SPACES)


def test_an_index_lies_under_its_one_byte_name() -> None:
    assert index_key(b"d", b"key") == b"idkey"
    for name in (b"", b"dd"):
        with pytest.raises(InvariantViolation, match="one byte"):
            index_key(name, b"key")


@given(
    prefix=st.binary(min_size=1, max_size=4).filter(lambda raw: raw.strip(b"\xff") != b""), key=st.binary(max_size=6)
)
def test_prefix_stop_bounds_exactly_the_keys_with_the_prefix(prefix: bytes, key: bytes) -> None:
    assert prefix <= prefix + key < prefix_stop(prefix)
    assert (prefix <= key < prefix_stop(prefix)) == key.startswith(prefix)


def test_nothing_lies_above_a_prefix_of_ff_bytes() -> None:
    for prefix in (b"", b"\xff\xff"):
        with pytest.raises(InvariantViolation):
            prefix_stop(prefix)


def test_an_overlay_takes_back_what_came_after_a_savepoint() -> None:
    store = MemoryStore()
    store.write(Batch({b"a": b"1", b"c": b"3"}))
    overlay = Overlay(store)
    overlay.put(b"b", b"kept")
    outer = overlay.savepoint()
    overlay.put(b"b", b"other")
    overlay.delete(b"a")
    inner = overlay.savepoint()
    overlay.put(b"bb", b"new")
    overlay.put(b"a", b"again")
    assert [key for key, _ in overlay.scan(b"a", b"z")] == [b"a", b"b", b"bb", b"c"]
    overlay.restore(inner)
    assert list(overlay.scan(b"a", b"z")) == [(b"b", b"other"), (b"c", b"3")]
    overlay.put(b"d", b"4")
    overlay.restore(outer)
    assert list(overlay.scan(b"a", b"z")) == [(b"a", b"1"), (b"b", b"kept"), (b"c", b"3")]
    assert overlay.batch().changes == {b"b": b"kept"}
    overlay.settle()
    with pytest.raises(InvariantViolation):
        overlay.restore(outer)


class Asked(MemoryStore):
    """Counts single questions."""

    asked = 0

    def get(self, key: bytes) -> bytes | None:
        self.asked += 1
        return super().get(key)


def test_of_keys_that_were_added_as_new_nobody_asks_the_base_again() -> None:
    base = Asked()
    overlay = Overlay(base)
    overlay.add({b"a": b"1", b"b": b"2"})
    overlay.put(b"c", b"3")
    assert overlay.undo().changes == {b"a": None, b"b": None, b"c": None}
    assert base.asked == 1
    assert overlay.undo(but=(b"c",)).changes == {b"a": None, b"b": None}


def test_keys_that_were_changed_already_are_not_new() -> None:
    overlay = Overlay(MemoryStore())
    overlay.put(b"a", b"1")
    overlay.delete(b"b")
    for key in (b"a", b"b"):
        with pytest.raises(InvariantViolation):
            overlay.add({b"c": b"", key: b""})
    assert overlay.batch().changes == {b"a": b"1", b"b": None}


def test_no_batch_is_laid_over_changes_that_may_be_taken_back() -> None:
    overlay = Overlay(MemoryStore())
    overlay.savepoint()
    with pytest.raises(InvariantViolation):
        overlay.apply(Batch({b"a": b"1"}))
