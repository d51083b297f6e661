"""What happens by itself when its time has come: a queue ordered by (due, kind, id) (LEDGER §5).

The queue is the derived index ``Index.DEADLINE``; a plan's and a claim's row say when they are due, so it can be
rebuilt. Deadlines of a block run before its transactions. If more than ``BLOCK_DEADLINES_MAX`` (D) are due when the
block begins, D run, the rest waits for the next blocks, and the block carries no transactions. Otherwise all run, and
so does what they themselves make due at once (a late close makes the next notice due).

``opened`` keeps a backlog from changing outcomes: windows count from when something was *due*, as long as its block
came at most an hour later; after an outage they count from the block, so three days to object stay three days.
"""

from collections.abc import Callable, Iterator
from enum import IntEnum
from itertools import islice
from typing import Final

from .blocks import DueKey
from .calendar import MS_PER_HOUR
from .errors import InvariantViolation
from .limits import BLOCK_DEADLINES_MAX
from .state import Index, State, StateReader, u64


class DeadlineKind(IntEnum):
    """Kinds in the order in which they run at equal times."""

    CLOSE = 1
    SETTLE = 2
    APPROVE = 3
    NOTICE = 4
    INVESTIGATE = 5
    INVESTIGATION_OVERDUE = 6
    REVIEW_OVERDUE = 7
    APPEAL_OVER = 8
    DOCUMENTS_OVERDUE = 9
    EXPERTS_OVERDUE = 10
    CALL_JURY = 11
    BALLOTS = 12
    UNCLAIMED = 13
    PROPOSAL = 14


Handler = Callable[[State, int, int], tuple[int, ...]]
"""(state, id, opened_ms) -> detail of the receipt. A deadline cannot be refused."""

_LATE_MAX_MS: Final = MS_PER_HOUR


def opened(due_ms: int, ledger_time_ms: int) -> int:
    """When an event counts as having happened: when it was due, if its block came at most an hour later."""
    return due_ms if ledger_time_ms - due_ms <= _LATE_MAX_MS else ledger_time_ms


def deadline_key(due_ms: int, kind: DeadlineKind, subject: int) -> bytes:
    """The index key: due (8) ‖ kind (1) ‖ id (8)."""
    return u64(due_ms) + bytes((kind,)) + u64(subject)


def schedule(state: State, kind: DeadlineKind, due_ms: int, subject: int) -> None:
    """Put a deadline into the queue. The subject's row must say the same."""
    state.index_put(Index.DEADLINE, deadline_key(due_ms, kind, subject))


def cancel(state: State, kind: DeadlineKind, due_ms: int, subject: int) -> None:
    """Take a deadline out of the queue."""
    state.index_delete(Index.DEADLINE, deadline_key(due_ms, kind, subject))


def upcoming(reader: StateReader, start: bytes = b"") -> Iterator[DueKey]:
    """All deadlines whose index key is at or above ``start``, the earliest first."""
    for key, _ in reader.index_scan(Index.DEADLINE, start=start):
        yield DueKey(int.from_bytes(key[:8], "big"), key[8], int.from_bytes(key[9:], "big"))


def due(reader: StateReader, ledger_time_ms: int, start: bytes = b"") -> Iterator[DueKey]:
    """The deadlines due at a ledger time, in the order in which they run."""
    for key in upcoming(reader, start):
        if key.due_ms > ledger_time_ms:
            return
        yield key


def next_due(reader: StateReader) -> int | None:
    """Ledger time of the earliest deadline."""
    return next((key.due_ms for key in upcoming(reader)), None)


def backlog_ms(reader: StateReader) -> int | None:
    """From this ledger time on more deadlines are due than one block may execute; ``None``: there are not so many."""
    return next((key.due_ms for key in islice(upcoming(reader), BLOCK_DEADLINES_MAX, None)), None)


def run(state: State, handlers: dict[DeadlineKind, Handler]) -> list[tuple[DueKey, tuple[int, ...]]]:
    """Execute what is due at this block's ledger time; (key, detail) of each in order.

    A deadline makes only later ones (windows are a day or more; a close comes before the notice it makes due), so the
    search goes on where it stopped.
    """
    now = state.block.ledger_time_ms
    backlog = backlog_ms(state)
    left = BLOCK_DEADLINES_MAX if backlog is not None and backlog <= now else None
    done: list[tuple[DueKey, tuple[int, ...]]] = []
    start = b""
    while (left is None or len(done) < left) and (key := next(due(state, now, start), None)) is not None:
        kind = DeadlineKind(key.kind)
        start = deadline_key(key.due_ms, kind, key.id)
        cancel(state, kind, key.due_ms, key.id)
        done.append((key, handlers[kind](state, key.id, opened(key.due_ms, now))))
    if left is None and next(due(state, now), None) is not None:
        raise InvariantViolation("a deadline made an earlier one due")
    return done
