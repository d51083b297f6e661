"""What roster and classes of signing keys are made of: all that they read is what makes a node read them again."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

from ledger import actions
from ledger import transactions as tx
from ledger.calendar import MS_PER_DAY
from ledger.governance import OBJECTION_DAYS
from ledger.roles import Role
from ledger.rows import Clock
from ledger.state import Index, StateReader
from ledger.store import AMENDMENTS, INDEXES, ROWS, Reader
from ledger.tables import Table
from node.admission import signer_class
from node.mempool import SignerClass
from node.roster import ROSTER_FROM, SIGNERS_FROM, make_roster
from tests.ledger.chain import Chain, key
from tests.ledger.test_life import BIRTH_MONTH

NEW_NODE = sha256(b"new node").digest()


class Noting:
    """A store that notes of which tables and indexes something was asked for."""

    def __init__(self, store: Reader) -> None:
        self._store = store
        self.asked: set[Table | Index] = set()

    def get(self, key: bytes) -> bytes | None:
        self.asked |= _of(key)
        return self._store.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        for one in keys:
            self.asked |= _of(one)
        return self._store.get_many(keys)

    def scan(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        self.asked |= _of(start)
        return self._store.scan(start, stop, reverse=reverse)


def _asked(chain: Chain, look: Callable[[StateReader], Any]) -> set[Table | Index]:
    store = Noting(chain.store)
    look(StateReader(store))
    return store.asked


def _peopled() -> Chain:
    """A chain with a member who has a key, and with an applicant."""
    chain = Chain()
    chain.ok("alice", tx.Enrol(0, sha256(b"alice").digest(), BIRTH_MONTH, key("alice")))
    applicant = actions.AdmitOrganisation("late", Role.HOSPITAL, key("late"), (NEW_NODE,), "")
    chain.ok("platform", tx.Propose(applicant))
    return chain


def _of(key: bytes) -> set[Table | Index]:
    """The table or index that a key of the store belongs to."""
    if key[:1] in (ROWS, AMENDMENTS):
        return {Table(key[1])}
    return {index for index in Index if key[:1] == INDEXES and key.startswith(index.prefix)}


def test_a_roster_reads_nothing_that_a_node_does_not_watch() -> None:
    chain = _peopled()
    validators = chain.view.next_validators
    assert NEW_NODE in make_roster(chain.state, validators).applicants
    assert _asked(chain, lambda state: make_roster(state, validators)) == ROSTER_FROM


def test_the_class_of_a_key_reads_nothing_that_a_node_does_not_watch_but_the_clocks_key() -> None:
    chain = _peopled()
    classes = {
        "bank": SignerClass.ORGANISATION,
        "alice": SignerClass.MEMBER,
        "clock": SignerClass.ORGANISATION,
        "nobody": SignerClass.UNKNOWN,
    }
    assert {name: signer_class(chain.state, key(name)) for name in classes} == classes
    asked: set[Table | Index] = set()
    for name in classes:
        asked |= _asked(chain, partial(signer_class, key=key(name)))
    assert asked == SIGNERS_FROM | {Clock.table}


def test_a_block_says_of_everything_that_it_writes_that_it_touched_it() -> None:
    chain = _peopled()
    for name in ("bank", "firm-a"):
        chain.ok(name, tx.VoteFor(0))
    chain.step_to(chain.now_ms + (OBJECTION_DAYS + 1) * MS_PER_DAY)
    assert NEW_NODE in make_roster(chain.state, chain.view.next_validators).allowed
    chain.ok("alice", tx.RotateMemberKey(0, key("alice 2")))
    seen: set[Table | Index] = set()
    for block in chain.blocks:
        written = set[Table | Index]().union(*[_of(key) for key in block.applied.batch.changes])
        assert written - {Table.META} <= block.applied.touched
        seen |= written
    assert seen >= ROSTER_FROM | SIGNERS_FROM


def test_the_key_of_a_stepped_clock_stays_when_the_clock_is_stepped() -> None:
    chain = Chain()
    before = chain.state.get(Clock, 1)
    chain.step_to(chain.now_ms + MS_PER_DAY)
    after = chain.state.get(Clock, 1)
    assert after.offset_ms > before.offset_ms
    assert after.clock_key == before.clock_key == key("clock")
