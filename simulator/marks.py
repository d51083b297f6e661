"""Coverage marks: rare paths that a range of seeds must reach, else its silence proves nothing (CONSENSUS §7).

They are set by watching events and effects from outside, never by the protocol's code. A mark that no seed of a run
reached is listed in ``marks_unreached``, and fails a run that is meant to be complete.
"""

from collections import Counter
from typing import Final

MARKS: Final[dict[str, str]] = {
    "round_above_0": "a block was decided in a round above 0",
    "past_round": "a node decided on Commits of a round below its own",
    "proposed_again": "a prepared block was proposed again",
    "proposed_again_other": "a block proposed again by another than its creator",
    "fresh_above_0": "a fresh block was proposed in a round above 0",
    "joined": "a node joined a round more than one above its own",
    "two_locks": "a node locked two different rounds of one height",
    "lock_dropped_out": "a node was locked on a block that lost",
    "body_fetched": "transactions were asked of a peer",
    "block_fetched": "a whole compact block was asked of a peer",
    "prepares_fetched": "lost Prepares were asked of a peer",
    "certificate_fetched": "a decision was asked of a peer",
    "resent": "a proposal was sent again to one who lacked it",
    "adopted_votes": "a LastSeen answer returned messages that the record lacked",
    "adopted_lock": "a LastSeen answer raised the lock",
    "resumed": "a restarted node took up votes of the open height",
    "torn": "a torn tail was cut off a log",
    "rotated": "a log was rotated",
    "record_lost": "a node began with a record marked lost",
    "rolled_back": "a rolled back log was detected",
    "key_in_use": "a process learned that its key had signed what its record does not know",
    "restart_all": "all nodes lost power at once",
    "crash_at_effect": "a crash between two effects of one step",
    "decided_not_written": "a crash between a decision and its batch",
    "synced_blocks": "a node took a decided block from a peer",
    "head_refuted": "a claimed head was not to be had",
    "early_kept": "a message of the next height was kept until it opened",
    "stale": "a fresh block's time was too far from a node's clock",
    "skipped": "a failed proposer was not eligible",
    "evidence_twice": "evidence of two messages for one round and kind",
    "evidence_abandoned": "evidence of a Commit and a RoundChange that denies it",
    "blamed": "a Byzantine node was blamed",
    "set_changed": "the validator set changed",
    "key_rotated": "a validator signed with a rotated key",
    "disk_full": "a record waited for room on a full disk",
    "fsync_failed": "an fsync failed and ended the process",
    "snapshot_joined": "a new node began with a snapshot",
    "newcomer_signed": "a node that had begun with a snapshot signed as a validator",
    "paused": "a node was stopped longer than a timeout",
    "real_signatures": "a seed with real Ed25519",
    "real_ledger": "a seed with the real rules executed a transaction",
    "real_receipt_failed": "a transaction was refused by the real rules, in its receipt",
    "money_moved": "the bank's word changed a plan's cash",
    "claim_filed": "a claim was filed under the real rules",
    "unsigned_refused": "a transaction with a wrong signature was not admitted",
    "certifying": "an empty block certified its parent",
    "duplicate_refused": "a committed transaction was sent again",
}


class Marks(Counter[str]):
    """How often each mark was reached."""

    def hit(self, name: str) -> None:
        """Mark ``name`` was reached; it must be in the table."""
        if name not in MARKS:
            raise KeyError(name)
        self[name] += 1

    def unreached(self) -> list[str]:
        """Marks at zero, in the table's order."""
        return [name for name in MARKS if not self[name]]
