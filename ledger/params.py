"""Parameters of a chain and of a plan: values, never code.

``ChainParams`` stands in the genesis file and is bound by every header's ``params_hash``. ``PlanParams`` is one version
of a plan (LEDGER §3); a claim is judged by the version of its diagnosis day, a notice by that of its own day.
"""

from typing import Final

from .codec import Wire, digest, encode

ILLNESS: Final = 0
ACCIDENT: Final = 1


class ChainParams(Wire, frozen=True):
    """Consensus parameters, equal on every node (CONSENSUS §2, §3)."""

    timeout_ms: int
    """T0: the timer of round 0; round r waits T0·2^r, at most ``timeout_ms_max``."""
    timeout_ms_max: int
    certify_wait_ms: int
    """A certifying block waits so long for an ordinary one to do its job."""
    announce_bound_ms: int
    """A transaction announced by q validators makes a block due when it is older than this."""
    heartbeat_ms: int
    """A block is due when the parent's consensus time is so long ago."""
    skip_blocks: int
    """K of the skip rule: a proposer that failed is passed over for K·2^min(fails, 6) heights."""
    draw_blocks: int
    """k of LEDGER §7: a draw uses at least so many beacons, of f + 1 distinct creators."""
    block_bytes_max: int
    """A proposer fills a body up to this; at most ``limits.BLOCK_BODY_BYTES_MAX``."""

    def hash(self) -> bytes:
        """``params_hash`` of the headers."""
        return digest(encode(self))


class ClassBand(Wire, frozen=True):
    """Members from ``age_from`` years (on the notice's day) belong to ``class_id`` until the next band begins.

    Class ids are never reused; ``weight`` multiplies the class's share.
    """

    age_from: int
    class_id: int
    weight: int


class TierBand(Wire, frozen=True):
    """From ``age_from`` years on the diagnosis day this tier pays ``aid_fen``, until its next band begins."""

    tier: int
    age_from: int
    aid_fen: int


class PlanParams(Wire, frozen=True):
    """One version of a plan. Days are calendar days of UTC+8, amounts fen, ages completed years."""

    fee_bps: int
    waiting_days: int
    joining_age_days_min: int
    joining_age_years_max: int
    tiers: tuple[TierBand, ...]
    classes: tuple[ClassBand, ...]
    notice_days: int
    pay_days: int
    case_cap_fen: int
    year_cap_fen: int
    lapse_fails: int
    reinstate_days: int
    file_days: int
    investigate_after_days: int
    investigate_days: int
    review_days: int
    expert_days: int
    appeal_days: int
    docs_times_max: int
    docs_days_max: int
    objectors_min: int
    jury_panel: int
    jury_quorum: int
    jury_exam_days: int
    jury_commit_hours: int
    jury_reveal_hours: int
