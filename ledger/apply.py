"""Applying a block: deadlines due at its time, its transactions in order, the end of the block, the roots.

``apply_block`` is the whole story on a screen. The node's executor takes the same steps one by one with
``BlockExecution``, so that it can look after votes between slices of transactions. A block is applied to a reader (a
store or a snapshot) that holds the state after its parent; nothing is written: ``Applied.batch`` is the one batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from msgspec.structs import replace

from . import (
    claims,
    disputes,
    documents,
    draws,
    experts,
    governance,
    journal,
    jury,
    plan_cycle,
    protocol,
    recovery,
    remedies,
)
from .blocks import DueKey, Evidence, Header, Receipt, receipts_root
from .codec import encode
from .deadlines import DeadlineKind, Handler, run
from .errors import CODES, OK, InvariantViolation, TransactionRejected
from .evidence import record
from .execute import Executor
from .organisations import validator_rows
from .proposers import charge, eligible, failed, order, skips_before
from .rows import Validator
from .state import BlockContext, Index, State
from .store import Batch, Overlay, Reader, Remembering
from .tables import Table
from .transactions import Transaction
from .undo import Undo, undo_of
from .validity import HeightView, view_after
from .votes import Certificate, ValidatorEntry, faults

DEADLINE_RULES: Final[dict[DeadlineKind, Handler]] = {
    DeadlineKind.CLOSE: plan_cycle.close,
    DeadlineKind.SETTLE: plan_cycle.settle,
    DeadlineKind.APPROVE: disputes.approve,
    DeadlineKind.NOTICE: plan_cycle.notice,
    DeadlineKind.INVESTIGATE: claims.investigate,
    DeadlineKind.INVESTIGATION_OVERDUE: claims.investigation_overdue,
    DeadlineKind.REVIEW_OVERDUE: claims.review_overdue,
    DeadlineKind.APPEAL_OVER: claims.appeal_over,
    DeadlineKind.DOCUMENTS_OVERDUE: documents.overdue,
    DeadlineKind.EXPERTS_OVERDUE: experts.overdue,
    DeadlineKind.CALL_JURY: disputes.call_jury,
    DeadlineKind.BALLOTS: jury.ballots_over,
    DeadlineKind.UNCLAIMED: remedies.unclaimed,
    DeadlineKind.PROPOSAL: governance.due,
}


@dataclass(frozen=True, slots=True)
class Applied:
    """What a block did."""

    batch: Batch
    """Everything to write, in one go."""
    undo: Undo
    """What takes it back: the value before the block of every key in ``batch``."""
    receipts: tuple[Receipt, ...]
    """Deadlines' first, then in the order of the body."""
    state_root: bytes
    receipts_root: bytes
    view: HeightView
    """What the next block is checked against; holds V(height + 1), V(height + 2), eligible, the next deadline."""
    ledger_time_ms: int
    """Of this block."""
    touched: frozenset[Table | Index]
    """Tables and indexes in which something may be other than before."""

    @property
    def validators_after(self) -> tuple[ValidatorEntry, ...]:
        """V(height + 2)."""
        return self.view.after_next_validators

    @property
    def state_changed(self) -> bool:
        """Whether the state root differs from the parent's result."""
        return self.state_root != self.view.header.state_root

    @property
    def eligible_next(self) -> tuple[int, ...]:
        """Seats of eligible(height + 1), ascending."""
        return tuple(entry.seat for entry in self.view.eligible)

    @property
    def next_due_ms(self) -> int | None:
        """Ledger time of the earliest deadline."""
        return self.view.next_due_ms


def apply_block(
    reader: Reader,
    view: HeightView,
    header: Header,
    parent_certificate: Certificate,
    transactions: Sequence[tuple[bytes, Transaction]],
    evidence: tuple[Evidence, ...] = (),
) -> Applied:
    """Apply a *valid* block (``validity``) on top of ``view``; ``transactions`` are (id, decoded) in body order."""
    execution = begin_block(reader, view, header, parent_certificate, evidence)
    execution.run_deadlines()
    execution.expect(transactions)
    for transaction_id, transaction in transactions:
        execution.deliver(transaction_id, transaction)
    return execution.finish()


def begin_block(
    reader: Reader,
    view: HeightView,
    header: Header,
    parent_certificate: Certificate,
    evidence: tuple[Evidence, ...] = (),
) -> "BlockExecution":
    """Begin to apply a valid block: then ``run_deadlines`` once, ``deliver`` for each transaction, ``finish`` once.

    ``expect`` may tell before what will be delivered: it makes that quicker.

    Another order raises ``InvariantViolation``.
    """
    return BlockExecution(reader, view, header, parent_certificate, evidence)


class _Step(Enum):
    BEGUN = 0
    DELIVERING = 1
    FINISHED = 2


class BlockExecution:
    """One block being applied; see ``begin_block``."""

    def __init__(
        self,
        reader: Reader,
        view: HeightView,
        header: Header,
        parent_certificate: Certificate,
        evidence: tuple[Evidence, ...],
    ) -> None:
        if header.height != view.height + 1:
            raise InvariantViolation(f"block {header.height} on top of {view.height}")
        protocol.check_known(header.version, header.height)
        block = BlockContext(
            chain_id=view.chain_id,
            height=header.height,
            time_ms=header.time_ms,
            ledger_time_ms=view.ledger_time(header.time_ms),
            creator=header.creator,
            beacon=header.beacon,
            version=header.version,
        )
        self._view = view
        self._header = header
        self._certificate = parent_certificate
        self._evidence = evidence
        self._overlay = Overlay(Remembering(reader))
        self._state = State(self._overlay, block, reader)
        self._executor = Executor(self._state)
        self._receipts: list[Receipt] = []
        self._step = _Step.BEGUN

    def run_deadlines(self) -> tuple[Receipt, ...]:
        """Execute what is due at the block's ledger time, at most D of it."""
        self._advance(_Step.BEGUN, _Step.DELIVERING)
        first_ms = self._view.next_due_ms
        if first_ms is None or first_ms > self._state.block.ledger_time_ms:
            return ()
        try:
            done = run(self._state, DEADLINE_RULES)
        except TransactionRejected as error:
            raise InvariantViolation(f"a deadline was refused: {error}") from error
        receipts = tuple(Receipt(key, OK, detail) for key, detail in done)
        self._receipts.extend(receipts)
        return receipts

    def expect(self, transactions: Sequence[tuple[bytes, Transaction]]) -> None:
        """Read what the transactions that come next will ask for, in one go; changes nothing."""
        self._advance(_Step.DELIVERING, _Step.DELIVERING)
        self._executor.expect(transaction for _, transaction in transactions)

    def deliver(self, transaction_id: bytes, transaction: Transaction) -> Receipt:
        """Execute one transaction. A refused one leaves no trace but its failed receipt."""
        if self._step is not _Step.DELIVERING:
            self._advance(_Step.DELIVERING, _Step.DELIVERING)
        try:
            receipt = Receipt(transaction_id, OK, self._executor.execute(transaction))
        except TransactionRejected as error:
            if error.code not in CODES:
                raise InvariantViolation(f"{error.code} is not in the table of codes") from error
            receipt = Receipt(transaction_id, error.code, ())
        self._receipts.append(receipt)
        return receipt

    def finish(self) -> Applied:
        """The end of the block: draws, skip rule, evidence, a recovery's set, the journal; then the roots."""
        self._advance(_Step.DELIVERING, _Step.FINISHED)
        self._executor.close()
        self._draw()
        self._charge()
        record(self._state, self._view.recent_sets, self._evidence)
        if self._view.recovery is not None:
            recovery.enact(self._state, self._view.recovery)
        journal.check_touched(self._state)
        root, receipts = self._state.root(), receipts_root(self._receipts)
        view = view_after(
            self._view,
            self._state,
            header=self._header,
            header_raw=encode(self._header),
            state_root=root,
            receipts_root=receipts,
        )
        self._state.memo.clear()  # what is derived refers to the state: only the garbage collector would free the block
        return Applied(
            batch=self._overlay.batch(),
            undo=undo_of(self._overlay, self._state.base),
            receipts=tuple(self._receipts),
            state_root=root,
            receipts_root=receipts,
            view=view,
            ledger_time_ms=self._state.block.ledger_time_ms,
            touched=self._state.all_touched(),
        )

    def _draw(self) -> None:
        """Mix the beacon into the open draws; those that close name their firms and juries."""
        creators_min = faults(len(self._view.next_validators)) + 1
        for draw_id, seed in draws.contribute(self._state, creators_min, self._view.params.draw_blocks):
            for claim_id in draws.waiting(self._state, draw_id):
                jury.named(self._state, claim_id, seed)

    def _charge(self) -> None:
        """The skip rule (CONSENSUS §2): charge who let the parent's rounds fail, pardon this block's creator."""
        view, height = self._view, self._header.height
        rows = validator_rows(self._state) if self._state.touched(Validator) else dict(view.seat_rows)
        changed: dict[int, Validator] = {}
        if self._certificate.round > 0:
            able = eligible(view.validators, skips_before(rows, view.height), view.height)
            ordered = order(view.parent_beacon, view.height, able)
            seats = [seat for seat in failed(ordered, self._certificate.round) if seat in rows]
            changed = charge(rows, seats, height, view.params.skip_blocks)
        for seat, row in {**rows, **changed}.items():
            if row.validator_key == self._header.creator and row.fails:
                changed[seat] = replace(row, fails=0)
        for seat in sorted(changed):
            self._state.put(seat, changed[seat])

    def _advance(self, expected: _Step, following: _Step) -> None:
        if self._step is not expected:
            raise InvariantViolation(f"the block's execution is {self._step.name}, not {expected.name}")
        self._step = following


def due_key(receipt: Receipt) -> DueKey | None:
    """The deadline a receipt is for; ``None`` for a transaction's."""
    return receipt.subject if isinstance(receipt.subject, DueKey) else None
