"""A fresh block on the head, and what of it is made ready while the block below is being written (NODE §2).

Rules of this file

* The head belongs to ``node.chain``: it comes in as a value (``HeightView``). What was made ready is for one view only.
* A block built here is valid by construction. Nothing is signed, and nothing leaves this node.
* A proposer fills a block with what this machine executes in about ``EXECUTION_S``, whatever the chain would allow.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from ledger import beacon, validity
from ledger.blocks import Body, Evidence, header_hash
from ledger.codec import encode
from ledger.limits import BLOCK_TRANSACTIONS_MAX
from ledger.transactions import Transaction
from ledger.validity import HeightView
from ledger.votes import Certificate, ValidatorEntry

from .checking import CheckedBlock
from .mempool import Mempool

BODY_FRAME_BYTES: Final = 1_024
"""Room kept in a body for its framing; the certificate is counted beside it."""
EXECUTION_S: Final = 0.2
"""A proposer fills a block with what this machine executes in about so long: a block is executed by all before the
next one, while T0 (1 s) of that one runs. With less a block's own cost weighs more; with 0.25 s four nodes on two cores
missed T0 now and then (docs/benchmarks.md)."""
FILL_BYTES_MIN: Final = 65_536
SPEED_BODY_BYTES_MIN: Final = 4_096
"""Smaller bodies say nothing about the cost of a byte."""

Picked = list[tuple[bytes, bytes]]
"""Transactions chosen for a block: id and bytes."""


@dataclass(frozen=True, slots=True)
class Committing:
    """A block whose batch is being written: what the next one will stand on, if nothing fails."""

    view: HeightView
    certificate: Certificate
    ids: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class _Assembled:
    """Made ready for the block above ``view``."""

    view: HeightView
    proof: bytes
    output: bytes
    """What the proof proves: the block's beacon."""
    picked: Picked
    """Empty: to be picked when the block is proposed."""


class Builder:
    """See the head of this file."""

    def __init__(
        self,
        *,
        mempool: Mempool,
        clock_ms: Callable[[], int],
        evidence: Callable[[], tuple[Evidence, ...]],
        decoded: Callable[[bytes, bytes], Transaction],
    ) -> None:
        """``evidence`` gives what waits to be put into a fresh block; ``decoded``: of an id and bytes."""
        self._mempool = mempool
        self._clock_ms = clock_ms
        self._evidence = evidence
        self._decoded = decoded
        self._assembled: _Assembled | None = None
        self._byte_s = 0.0
        """Seconds a byte of body takes to execute, an average that forgets."""

    def build(
        self, view: HeightView, certificate: Certificate, creator: ValidatorEntry, prove: Callable[[bytes], bytes]
    ) -> CheckedBlock:
        """A fresh block on ``view``, proved by ``certificate``; ``prove`` gives the beacon proof of an alpha."""
        time_ms = max(self._clock_ms(), view.header.time_ms + 1)
        evidence = self._evidence()
        ahead = self._assembled if self._assembled is not None and self._assembled.view is view else None
        picked: Picked = []
        if not view.leaves_deadlines(time_ms):
            if ahead is not None and ahead.picked and not evidence:
                picked = self._mempool.still_valid(ahead.picked, time_ms)
            else:
                picked = self._pick(view, len(encode(certificate)) + len(encode(evidence)), time_ms)
        proof, output = _proved(view, prove) if ahead is None else (ahead.proof, ahead.output)
        header = validity.assemble_header(
            view,
            time_ms=time_ms,
            transaction_ids=[tx_id for tx_id, _ in picked],
            creator=creator.validator_key,
            beacon_output=output,
            beacon_proof=proof,
            parent_certificate=certificate,
            evidence=evidence,
        )
        raw = encode(header)
        body = Body(tuple(item for _, item in picked), evidence, certificate, view.recovery)
        return CheckedBlock(
            height=header.height,
            hash=header_hash(raw),
            header=header,
            header_raw=raw,
            body=body,
            body_raw=encode(body),
            transactions=tuple((tx_id, self._decoded(tx_id, item)) for tx_id, item in picked),
        )

    def assemble_ahead(self, committing: Committing, prove: Callable[[bytes], bytes]) -> None:
        """Make ready what the next block can have already while the block below it is being written.

        The beacon's proof; and the transactions, without the candidate's ids, when they fill the block: if there is
        room, those that arrive until it is proposed are to go with it.
        """
        view = committing.view
        time_ms = max(self._clock_ms(), view.header.time_ms + 1)
        picked: Picked = []
        certificate_bytes = len(encode(committing.certificate))
        if not view.leaves_deadlines(time_ms) and self._mempool.size_bytes >= self.room(view):
            picked = self._pick(view, certificate_bytes, time_ms, committing.ids)
        self._assembled = _Assembled(view, *_proved(view, prove), picked)

    def _pick(
        self, view: HeightView, beside_bytes: int, time_ms: int, exclude: Collection[bytes] = frozenset()
    ) -> Picked:
        frame = BODY_FRAME_BYTES + beside_bytes
        alone = view.params.block_bytes_max - frame
        room = self.room(view) - frame
        return self._mempool.pick(room, BLOCK_TRANSACTIONS_MAX, time_ms, exclude, alone_bytes_max=alone)

    def room(self, view: HeightView) -> int:
        """Bytes of body to fill: what the chain allows, but no more than this machine executes quickly."""
        allowed = view.params.block_bytes_max
        quick = int(EXECUTION_S / self._byte_s) if self._byte_s else allowed
        return min(allowed, max(quick, FILL_BYTES_MIN))

    def note_speed(self, body_bytes: int, execution_s: float) -> None:
        """A body of so many bytes was executed in so many seconds."""
        if body_bytes >= SPEED_BODY_BYTES_MIN:
            fresh = execution_s / body_bytes
            self._byte_s = fresh if not self._byte_s else 0.7 * self._byte_s + 0.3 * fresh


def _proved(view: HeightView, prove: Callable[[bytes], bytes]) -> tuple[bytes, bytes]:
    """The beacon's proof for the block above ``view``, and what it proves."""
    proof = prove(beacon.alpha(view.header.beacon, view.height + 1))
    return proof, beacon.proof_to_hash(proof)
