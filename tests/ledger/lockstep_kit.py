"""States, members and parameters of tests that work without blocks."""

from dataclasses import replace as replace_context
from datetime import date
from hashlib import sha256
from typing import Any

from msgspec.structs import replace

from ledger.params import PlanParams, TierBand
from ledger.rows import Claim
from ledger.state import BlockContext, State
from ledger.store import MemoryStore, Overlay
from tests.ledger.chain import PLAN_PARAMS
from tests.reference.brute_force import noon

PARAMS = replace(
    PLAN_PARAMS, tiers=(TierBand(0, 0, 10_000),), case_cap_fen=10**9, year_cap_fen=18_800, investigate_days=10
)


def new_state(day: date) -> State:
    """An empty state whose block is at noon of ``day``."""
    block = BlockContext(bytes(32), 1, 1, noon(day), bytes(32), bytes(64))
    return State(Overlay(MemoryStore()), block)


def at(state: State, ms: int) -> None:
    """Move the state's block to a ledger time."""
    state.block = replace_context(state.block, ledger_time_ms=ms)


def identity(number: int) -> bytes:
    """The identity hash of the n-th person."""
    return sha256(number.to_bytes(8, "big")).digest()


def claim(amount: int, member: int = 0) -> Claim:
    """A claim of which only the amount matters here."""
    blank: dict[str, Any] = dict.fromkeys(Claim.__struct_fields__, 0)
    blank |= {"passed_over": (), "member": member, "amount_fen": amount}
    blank |= dict.fromkeys(("fingerprint", "salt", "report", "diagnosis", "reference"), b"")
    return Claim(**blank)


def with_params(**changes: Any) -> PlanParams:
    """The parameters of version 1 with changes."""
    return replace(PARAMS, **changes)
