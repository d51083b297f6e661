"""What of a network of twins can still matter, and which networks are the same but for names.

A ``State`` is the network between two phases, when nothing is in flight and every timer that is set has run off. It is
all that is known of the past: ``process`` makes the cores of the next phase from it and from nothing else. ``settled``
leaves out what can have no effect any more, and ``canonical`` names the states that differ only by what the processes
1 to 3, the two copies, and the blocks are called.

What is left out, and why it cannot matter:

* A Prepare or Commit of a round and block that can never be one of q: those validators that signed it, and those that
  still could, are fewer. A process signs no Prepare below its round; a Commit it may sign where it signed the Prepare
  (so the promise to abandon rounds is not presumed: a core that breaks it is caught).
* A round change for a round that its holder has left, a known round below the holder's, an own proposal for a round
  that everybody undecided has left or has prepared in: the handlers ignore them.
* The newest vote of a kind decides what is sent again; a dead one is kept while it hides an older one that is not dead
  (of an own vote; of validator 0's, which two processes cast, in anybody's tally).
* Which requests were asked of whom: a phase lasts long enough to ask everybody.
* What a process knew before it decided: it hands out the block, and signs nothing more.
"""

import marshal
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from hashlib import blake2b
from itertools import groupby, permutations, product
from typing import Any, Final, NamedTuple

from .choices import HONEST, INDEX, PROCESSES, TWINS, VALIDATORS

NONE: Final = -1
"""No round, no block."""
Vote = tuple[int, int, int]
"""(round, block, validators as a bit mask)."""
Slot = tuple[int, int]
"""(round, block)."""
Change = tuple[int, int, int]
"""A RoundChange: (target, prepared round, prepared block)."""


class Offer(NamedTuple):
    """A process's newest proposal and what justifies it."""

    round: int
    block: int
    changes: tuple[tuple[int, int, int], ...]
    """(validator, prepared round, prepared block)"""
    prepares: int
    """Mask of those who prepared the block in the highest of these rounds."""


class Local(NamedTuple):
    """One undecided process. Blocks are small numbers."""

    round: int
    lock: Vote | None
    """With the signers of its q Prepares."""
    change: Change | None
    """Signed for its round."""
    proposed: int
    """The block it proposed in its round."""
    offer: Offer | None
    prepared: tuple[tuple[int, int], ...]
    """Own Prepares: (round, block), ascending."""
    committed: tuple[tuple[int, int], ...]
    prepares: tuple[Vote, ...]
    """Held, its own among them."""
    commits: tuple[Vote, ...]
    changes: tuple[Change | None, ...]
    """Of each validator, the highest."""
    highest: tuple[int, ...]
    """Round known of each validator."""
    blocks: tuple[int, ...]
    """Those it holds."""


class Decided(NamedTuple):
    """One process that has decided."""

    block: int


class State(NamedTuple):
    """The network after a phase."""

    locals: tuple[Local | Decided, ...]
    leaders: tuple[int, ...]
    """The validator that leads each round so far; NONE of rounds that everybody has left."""
    creators: tuple[int, ...]
    """The validator that made each block; NONE when nobody will ask."""


BEGIN: Final = State(
    tuple(Local(0, None, None, NONE, None, (), (), (), (), (None,) * 4, (NONE,) * 4, ()) for _ in range(PROCESSES)),
    (),
    (),
)


def bits(mask: int) -> Iterator[int]:
    """The validators of a mask."""
    return (index for index in range(VALIDATORS) if mask >> index & 1)


def over(state: State) -> bool:
    """Whether everybody honest has decided."""
    return all(isinstance(state.locals[process], Decided) for process in HONEST)


def undecided(state: State) -> list[tuple[int, Local]]:
    """The processes that have not decided."""
    return [(process, local) for process, local in enumerate(state.locals) if isinstance(local, Local)]


# ---- what is left out ----


class Rules(NamedTuple):
    """What decides which of the past can still matter."""

    quorum: int
    """What the core counts with."""
    late: bool = False
    """Whether votes and proposals of rounds that their signer has left are sent again."""


def settled(state: State, rules: Rules) -> State:
    """The state without what can have no effect any more."""
    running = undecided(state)
    lowest = min((local.round for _, local in running), default=len(state.leaders))
    running = [(process, _heard(process, local, running, lowest, rules)) for process, local in running]
    alive = _Alive(running, rules)
    cut = {process: _cut(process, local, alive) for process, local in running}
    locals_ = [cut.get(process, local) for process, local in enumerate(state.locals)]
    leaders = tuple(leader if round >= lowest else NONE for round, leader in enumerate(state.leaders))
    return _renamed(State(tuple(locals_), leaders, state.creators))


class _Alive:
    """Which votes can still matter."""

    def __init__(self, running: Sequence[tuple[int, Local]], rules: Rules) -> None:
        self.rules = rules
        self._running = running
        self._prepared: dict[Slot, int] = {}
        """Who signed a Prepare."""
        self._undone: dict[Slot, int] = {}
        """Who signed a Prepare, but no Commit."""
        self._committed: dict[Slot, int] = {}
        self._named: set[Slot] = set()
        """Prepared values of locks and round changes."""
        self._wanted: dict[Slot, bool] = {}
        for process, local in running:
            own = 1 << INDEX[process]
            for at in local.prepared:
                _add(self._prepared, at, own)
                if at not in local.committed:
                    _add(self._undone, at, own)
            for at in local.committed:
                _add(self._committed, at, own)
            for round, block, mask in local.prepares:
                _add(self._prepared, (round, block), mask)
            for round, block, mask in local.commits:
                _add(self._committed, (round, block), mask)
            if local.lock is not None:
                self._named.add(local.lock[:2])
            self._named |= {change[1:] for change in (local.change, *local.changes) if change is not None}
            if local.offer is not None:
                self._named |= {change[1:] for change in local.offer.changes}
        self.twins = [local for process, local in running if process in TWINS]

    def prepare(self, at: Slot) -> bool:
        """Whether q may have prepared it, and somebody may ask for that."""
        wanted = self._wanted.get(at)
        if wanted is None:
            more = self._voters(at)
            enough = (self._prepared.get(at, 0) | more).bit_count() >= self.rules.quorum
            wanted = self._wanted[at] = enough and bool(more or at in self._named or self._undone.get(at, 0))
        return wanted

    def commit(self, at: Slot, held: int) -> bool:
        """Whether who holds the Commits ``held`` may come to hold q."""
        late = self._committed.get(at, 0) if self.rules.late else 0
        may = held | late | self._voters(at) | (self._undone.get(at, 0) if self.prepare(at) else 0)
        return may.bit_count() >= self.rules.quorum

    def _voters(self, at: Slot) -> int:
        """Who may still sign a Prepare there."""
        mask = 0
        for process, local in self._running:
            if local.round <= at[0] and all(round != at[0] or block == at[1] for round, block in local.prepared):
                mask |= 1 << INDEX[process]
        return mask


def _add(masks: dict[Slot, int], at: Slot, mask: int) -> None:
    masks[at] = masks.get(at, 0) | mask


def _heard(process: int, local: Local, running: Sequence[tuple[int, Local]], lowest: int, rules: Rules) -> Local:
    """Without round changes, rounds and offers that nobody heeds any more."""
    round, offer = local.round, local.offer
    if offer is not None:
        wanted = any(
            other.round <= offer.round and all(at != offer.round for at, _ in other.prepared)
            for number, other in running
            if number != process
        )
        sent = rules.late or offer.round >= round
        offer = offer if sent and wanted and offer.round >= lowest else None
    reached = sum(1 for i, r in enumerate(local.highest) if r >= round or i == INDEX[process]) >= rules.quorum
    floor = round if round and reached else NONE
    return local._replace(
        offer=offer,
        changes=tuple(change if change is not None and change[0] >= round else None for change in local.changes),
        highest=tuple(r if r > round or (r == round and not reached) else floor for r in local.highest),
    )


def _cut(process: int, local: Local, alive: _Alive) -> Local:
    """Without votes that cannot matter."""
    round, rules = local.round, alive.rules
    locked = local.lock[:2] if local.lock is not None else None
    prepared = [
        at
        for at in local.prepared
        if at == locked or at[0] >= round or (alive.prepare(at) and (rules.late or at not in local.committed))
    ]
    committed = [at for at in local.committed if at == locked or at[0] >= round or (rules.late and alive.commit(at, 0))]
    commits = [vote for vote in local.commits if alive.commit(vote[:2], vote[2])]
    if rules.late:
        _keep_newest(prepared, local.prepared)
        _keep_newest(committed, local.committed)
    proven = {locked, *committed}
    prepares = [vote for vote in local.prepares if vote[:2] in proven or alive.prepare(vote[:2])]
    if rules.late:
        _keep_copies(prepares, local.prepares, [(t.prepared, alive.prepare) for t in alive.twins])
        _keep_copies(commits, local.commits, [(t.committed, lambda at: alive.commit(at, 0)) for t in alive.twins])
    return local._replace(
        prepared=tuple(sorted({*prepared, *committed})),
        committed=tuple(committed),
        prepares=tuple(sorted(prepares)),
        commits=tuple(sorted(commits)),
    )


def _keep_newest(kept: list[Slot], votes: tuple[Slot, ...]) -> None:
    """The newest of a kind hides the older ones: only it is sent again."""
    if kept and votes[-1] not in kept:
        kept.append(votes[-1])


def _keep_copies(kept: list[Vote], votes: tuple[Vote, ...], copies: Sequence[tuple[tuple[Slot, ...], Any]]) -> None:
    """One copy's newer vote hides the other's older one: Status says that nothing of validator 0 is lacking."""
    newest = max((round for round, _, mask in votes if mask & 1), default=NONE)
    if newest <= max((round for round, _, mask in kept if mask & 1), default=NONE):
        return
    full = {vote[:2] for vote in kept if vote[2] & 1}
    for own, alive in copies:
        if own and own[-1][0] <= newest and any(alive(at) and at not in full for at in own):
            kept += [(round, block, 1) for round, block, mask in votes if mask & 1 and round == newest]
            return


def _mentions(local: Local) -> Iterator[int]:
    if local.lock is not None:
        yield local.lock[1]
    if local.change is not None:
        yield local.change[2]
    yield local.proposed
    if local.offer is not None:
        yield local.offer.block
        for _, _, block in local.offer.changes:
            yield block
    for _, block in (*local.prepared, *local.committed):
        yield block
    for _, block, _ in (*local.prepares, *local.commits):
        yield block
    for change in local.changes:
        if change is not None:
            yield change[2]


def _renamed(state: State) -> State:
    """Blocks numbered as they are met; who made one is told while it is offered as a fresh one."""
    names: dict[int, int] = {NONE: NONE}
    creators: list[int] = []
    fresh = {
        local.offer.block
        for local in state.locals
        if isinstance(local, Local)
        and local.offer is not None
        and all(round == NONE for _, round, _ in local.offer.changes)
    }

    def name(block: int) -> int:
        if block not in names:
            names[block] = len(creators)
            creators.append(state.creators[block] if block in fresh else NONE)
        return names[block]

    for local in state.locals:
        for block in (local.block,) if isinstance(local, Decided) else _mentions(local):
            name(block)
    locals_ = tuple(
        Decided(names[local.block]) if isinstance(local, Decided) else relabelled(local, names, IDENTITY)
        for local in state.locals
    )
    return State(locals_, state.leaders, tuple(creators))


# ---- the same but for names ----


class Naming(NamedTuple):
    """Another order of the processes: ``order[i]`` is the process that takes place i."""

    order: tuple[int, ...]
    validators: tuple[int, ...]
    """New number of each validator."""
    masks: tuple[int, ...]
    """New mask of each mask."""


def _naming(order: tuple[int, ...]) -> Naming:
    validators = [0] * VALIDATORS
    for place, process in enumerate(order):
        if process not in TWINS:
            validators[process] = place
    masks = tuple(sum(1 << validators[index] for index in bits(mask)) for mask in range(1 << VALIDATORS))
    return Naming(order, tuple(validators), masks)


IDENTITY: Final = _naming(tuple(range(PROCESSES)))


@cache
def naming(order: tuple[int, ...]) -> Naming:
    """Of this order; processes 1 to 3 and the two copies may be exchanged among themselves."""
    return _naming(order)


def namings() -> list[Naming]:
    """All twelve."""
    return [
        naming((first, *middle, last)) for (first, last), middle in product((TWINS, TWINS[::-1]), permutations(HONEST))
    ]


def relabelled(local: Local, names: dict[int, int], naming: Naming) -> Local:
    """The same process, with other names for blocks and validators."""
    masks, validators = naming.masks, naming.validators

    def change(one: Change | None) -> Change | None:
        return None if one is None else (one[0], one[1], names[one[2]])

    def votes(ones: Iterable[Vote]) -> tuple[Vote, ...]:
        return tuple(sorted((round, names[block], masks[mask]) for round, block, mask in ones))

    def by_validator(values: Sequence[Any]) -> tuple[Any, ...]:
        moved: list[Any] = [None] * VALIDATORS
        for index, value in enumerate(values):
            moved[validators[index]] = value
        return tuple(moved)

    offer = local.offer
    if offer is not None:
        changes = tuple(sorted((validators[i], round, names[block]) for i, round, block in offer.changes))
        offer = Offer(offer.round, names[offer.block], changes, masks[offer.prepares])
    lock = local.lock
    return Local(
        local.round,
        None if lock is None else (lock[0], names[lock[1]], masks[lock[2]]),
        change(local.change),
        names[local.proposed],
        offer,
        tuple((round, names[block]) for round, block in local.prepared),
        tuple((round, names[block]) for round, block in local.committed),
        votes(local.prepares),
        votes(local.commits),
        by_validator([change(one) for one in local.changes]),
        by_validator(local.highest),
        tuple(sorted(names[block] for block in local.blocks if block in names)),
    )


def renamed(state: State, naming: Naming) -> State:
    """The same network with other names for the processes."""
    names = {block: block for block in range(NONE, len(state.creators))}
    locals_ = [state.locals[process] for process in naming.order]
    moved = tuple(one if isinstance(one, Decided) else relabelled(one, names, naming) for one in locals_)
    turned = [naming.validators[leader] if leader != NONE else NONE for leader in state.leaders]
    creators = [naming.validators[index] if index != NONE else NONE for index in state.creators]
    return State(moved, tuple(turned), tuple(creators))


def canonical(state: State, quorum: int) -> bytes:
    """16 bytes, equal for states that are the same but for names.

    Of q or more Prepares that somebody holds, who signed them does not matter: whoever is given them is given q.
    """
    looks = [_look(state, process, quorum) for process in range(PROCESSES)]
    order = sorted(HONEST, key=lambda process: looks[process])
    alike = [list(permutations(group)) for _, group in groupby(order, key=lambda process: looks[process])]
    twins = [tuple(sorted(TWINS, key=lambda process: looks[process]))]
    if looks[TWINS[0]] == looks[TWINS[1]]:
        twins.append(twins[0][::-1])
    return min(
        _digest(state, naming((first, *(process for group in middle for process in group), last)), quorum)
        for (first, last), middle in product(twins, product(*alike))
    )


def _look(state: State, process: int, quorum: int) -> tuple[Any, ...]:
    """What is seen of a process without any names: processes that look differently cannot take each other's place."""
    local = state.locals[process]
    if isinstance(local, Decided):
        return (NONE,)
    return (
        local.round,
        local.lock[0] if local.lock is not None else NONE,
        local.change[1] if local.change is not None else NONE,
        local.offer.round if local.offer is not None else NONE,
        tuple(round for round, _ in local.prepared),
        tuple(round for round, _ in local.committed),
        tuple(sorted(round for round, _, mask in local.prepares if mask.bit_count() >= quorum)),
        tuple(sorted((round, mask.bit_count(), mask & 1) for round, _, mask in local.commits)),
        tuple(sorted((change[0], change[1]) if change is not None else (NONE, NONE) for change in local.changes)),
        tuple(sorted(local.highest)),
        tuple(leader == INDEX[process] for leader in state.leaders),
    )


def _digest(state: State, naming: Naming, quorum: int) -> bytes:
    names: dict[int, int] = {NONE: NONE}
    masks, validators = naming.masks, naming.validators
    told: list[Any] = [[validators[leader] if leader != NONE else NONE for leader in state.leaders]]
    creators: list[int] = []

    def name(block: int) -> int:
        if block not in names:
            names[block] = len(creators)
            creator = state.creators[block]
            creators.append(NONE if creator == NONE else validators[creator])
        return names[block]

    def votes(ones: tuple[Vote, ...], enough: int) -> list[Any]:
        turned = [(round, NONE if mask.bit_count() >= enough else masks[mask], block) for round, block, mask in ones]
        return [(round, mask, name(block)) for round, mask, block in sorted(turned)]

    for process in naming.order:
        local = state.locals[process]
        if isinstance(local, Decided):
            told.append(name(local.block))
            continue
        lock, change, offer = local.lock, local.change, local.offer
        by_validator: list[Any] = [None] * VALIDATORS
        for index in range(VALIDATORS):
            by_validator[validators[index]] = (local.highest[index], local.changes[index])
        told.append(
            [
                local.round,
                None if lock is None else (lock[0], name(lock[1])),
                None if change is None else (change[1], name(change[2])),
                name(local.proposed),
                [(round, name(block)) for round, block in local.prepared],
                [(round, name(block)) for round, block in local.committed],
                votes(tuple(v for v in local.prepares if v[0] >= local.round or v[2].bit_count() >= quorum), quorum),
                votes(local.commits, VALIDATORS + 1),
                [(r, None if c is None else (c[0], c[1], name(c[2]))) for r, c in by_validator],
                None
                if offer is None
                else (
                    offer.round,
                    name(offer.block),
                    [(v, r, name(b)) for v, r, b in sorted((validators[v], r, b) for v, r, b in offer.changes)],
                ),
                sorted(names[block] for block in local.blocks if block in names),
            ]
        )
    told.append(creators)
    return blake2b(marshal.dumps(told, 2), digest_size=16).digest()
