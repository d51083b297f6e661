"""States, members and parameters of tests that work without blocks."""

from dataclasses import replace as replace_context
from datetime import date
from hashlib import sha256
from typing import Any

from msgspec.structs import replace

from ledger.params import ClassBand, PlanParams, TierBand
from ledger.rows import Claim
from ledger.state import BlockContext, State
from ledger.store import MemoryStore, Overlay
from tests.reference.brute_force import noon

PARAMS = PlanParams(
    fee_bps=800,
    waiting_days=90,
    joining_age_days_min=30,
    joining_age_years_max=59,
    tiers=(TierBand(0, 0, 10_000),),
    classes=(ClassBand(0, 1, 1),),
    notice_days=3,
    pay_days=7,
    case_cap_fen=10**9,
    year_cap_fen=18_800,
    lapse_fails=2,
    reinstate_days=60,
    file_days=180,
    investigate_after_days=3,
    investigate_days=10,
    review_days=10,
    expert_days=30,
    appeal_days=30,
    docs_times_max=2,
    docs_days_max=60,
    objectors_min=20,
    jury_panel=501,
    jury_quorum=100,
    jury_exam_days=30,
    jury_commit_hours=48,
    jury_reveal_hours=24,
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
