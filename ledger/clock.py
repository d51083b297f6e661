"""Ledger time = consensus time + offset (DESIGN §4).

The offset is 0 in production. On a stepped chain (test networks) the clock key's ``advance_clock(to)`` moves it from
the next block on, forwards only: the next block's ledger time is above ``to``. Two in one block must still ascend.
"""

from typing import Final

from msgspec.structs import replace

from .errors import TransactionRejected
from .rows import Clock
from .state import State, StateReader
from .transactions import AdvanceClock

LEDGER_MS_MAX: Final = 2**53
CLOCK_ROW: Final = 1
"""The row of ``meta`` that holds the clock."""


def clock(reader: StateReader) -> Clock:
    """The clock row; its offset is in force from the next block on."""
    return reader.get(Clock, CLOCK_ROW)


def advance(state: State, body: AdvanceClock) -> tuple[int, ...]:
    """Move the clock. Who may is decided in ``sender``. Raises CLOCK_BACKWARDS or BAD_FIELD."""
    row = clock(state)
    if body.to_ms > LEDGER_MS_MAX:
        raise TransactionRejected("BAD_FIELD", f"{body.to_ms} is beyond the calendar")
    if body.to_ms <= state.block.time_ms + row.offset_ms:
        raise TransactionRejected("CLOCK_BACKWARDS", f"asked for {body.to_ms}")
    state.put(CLOCK_ROW, replace(row, offset_ms=body.to_ms - state.block.time_ms))
    return (body.to_ms,)
