"""Who proposes, and who is passed over (CONSENSUS §2): one implementation, for the protocol and the ledger.

* ``proposer(h, r)`` = eligible(h) in ascending order of ``SHA-256(parent's beacon ‖ h ‖ validator key)``, at
  r mod |eligible|.
* eligible(h) = V(h) without those whose ``skipped_until`` is above h, of whom at most the f latest are skipped. It
  is read from the validator rows after h - 1 and fixed for all rounds of h; expiry follows from the height alone, so
  an idle chain does not change its root.
* Block h' charges the proposers of the rounds below that of the parent certificate *in its body*, each once:
  fails += 1, skipped_until = max(h' + K·2^min(fails, 6), the greatest skipped_until of the others + K). Then the
  block created resets its creator's fails.

From local certificates nodes would disagree on the leader; the certificate in the body is the same for all.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

from msgspec.structs import replace

from .errors import InvariantViolation
from .rows import Validator
from .votes import ValidatorEntry, faults

DOUBLINGS_MAX: Final = 6


def order(parent_beacon: bytes, height: int, eligible: Sequence[ValidatorEntry]) -> tuple[ValidatorEntry, ...]:
    """The eligible validators of ``height`` in the order in which they propose."""
    head = parent_beacon + height.to_bytes(8, "big")
    return tuple(sorted(eligible, key=lambda entry: sha256(head + entry.validator_key).digest()))


def proposer(ordered: Sequence[ValidatorEntry], round_: int) -> ValidatorEntry:
    """The proposer of a round, of the validators in ``order``."""
    if not ordered:
        raise InvariantViolation("nobody is eligible to propose")
    return ordered[round_ % len(ordered)]


def eligible(
    validators: tuple[ValidatorEntry, ...], skipped_until: Mapping[int, int], height: int
) -> tuple[ValidatorEntry, ...]:
    """eligible(height): ``validators`` = V(height); ``skipped_until`` by seat, as the rows stood after height - 1."""
    skipped = [entry.seat for entry in validators if skipped_until.get(entry.seat, 0) > height]
    skipped.sort(key=lambda seat: (skipped_until[seat], seat), reverse=True)
    passed_over = set(skipped[: faults(len(validators))])
    return tuple(entry for entry in validators if entry.seat not in passed_over)


def skips(rows: Mapping[int, Validator]) -> dict[int, int]:
    """``skipped_until`` by seat as the rows stand."""
    return {seat: row.skipped_until for seat, row in rows.items()}


def skips_before(rows: Mapping[int, Validator], height: int) -> dict[int, int]:
    """``skipped_until`` by seat as the rows stood before block ``height``, the newest block executed."""
    return {
        seat: row.previous_skipped_until if row.changed_height == height else row.skipped_until
        for seat, row in rows.items()
    }


def failed(ordered: Sequence[ValidatorEntry], round_: int) -> tuple[int, ...]:
    """Seats of the proposers of the rounds below ``round_``, each once, in the order of their first failure."""
    return tuple(entry.seat for entry in ordered[: min(round_, len(ordered))])


def charge(rows: dict[int, Validator], seats: Sequence[int], height: int, skip_blocks: int) -> dict[int, Validator]:
    """The rows that block ``height`` changes by charging ``seats`` in order."""
    until = skips(rows)
    changed: dict[int, Validator] = {}
    for seat in seats:
        row = rows[seat]
        fails = row.fails + 1
        others = max((value for other, value in until.items() if other != seat), default=0)
        until[seat] = max(height + skip_blocks * 2 ** min(fails, DOUBLINGS_MAX), others + skip_blocks)
        changed[seat] = replace(
            row,
            fails=fails,
            skipped_until=until[seat],
            changed_height=height,
            previous_skipped_until=row.skipped_until,
        )
    return changed
