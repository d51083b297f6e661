"""Seeded bugs: one file a rule of the protocol, broken on purpose; the simulator must notice (CONSENSUS §7).

Each module has ``RULE``, the sentence that it breaks, and ``plant``, which breaks it in the running process. No check
knows of them: a bug counts as caught only by the invariants that every seed is held to, and a run without it is green.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Final

from .patch import Patch

BUGS: Final = (
    "drop_the_lock",
    "break_the_promise",
    "substitute_a_fresh_block",
    "mix_rounds_in_a_certificate",
    "quorum_minus_one",
    "count_a_signer_twice",
    "accept_removed_signers",
    "skip_persist_proposal",
    "skip_persist_prepare",
    "skip_persist_lock",
    "skip_persist_round_change",
    "skip_persist_batch",
    "send_before_fsync",
    "accept_prepared_above_target",
    "wrong_highest_prepared",
    "no_hash_check",
    "join_at_f",
    "timer_not_gated",
    "sign_while_syncing",
    "sign_without_last_seen",
    "forget_the_record",
    "change_the_set_at_once",
    "decide_on_prepares",
    "ignore_past_commits",
    "unbounded_future",
    "check_freshness_again",
    "eligible_from_local_certificate",
    "execute_expired_again",
)
"""Issue by issue of CONSENSUS; each names a module of this package."""


def rule_of(name: str) -> str:
    """The sentence that bug ``name`` breaks."""
    rule: str = import_module(f".{name}", __package__).RULE
    return rule


@contextmanager
def planted(name: str) -> Iterator[None]:
    """While this lasts, the product of this process has bug ``name``."""
    patch = Patch()
    try:
        import_module(f".{name}", __package__).plant(patch)
        yield
    finally:
        patch.undo()
