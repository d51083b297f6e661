"""The owner of the head: what stands on it is built (``building``) and checked (``checking``), and committed here
(DESIGN §2, CONSENSUS §3).

Rules of this file

* One commit at a time, in height order. Whoever brings the next block, consensus or synchronisation, goes
  one way: execute in slices (a proposal already while it is voted on), then *one* synced batch that holds the block,
  its state, indexes, receipts, undo pages, the signing log's position and the head record; then the listeners
  are told. Nobody is told before.
* Everything a rule needs of the head is in ``view`` (``ledger.validity.HeightView``), replaced whole after each batch.
* Reads for clients come from snapshots: ``current`` is the state after the head, ``certified`` the one that the head's
  header certifies (its parent's), from which proofs verify. A snapshot lives as long as somebody holds it.
* No block of a protocol version that this program does not speak is checked, built on or executed (``check_spoken``).
* A block with a valid certificate that is invalid by our rules is our bug, or more than f validators are Byzantine: an
  InvariantViolation. A block without one is a peer's fault.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from consensus.context import HeightContext, Timing
from consensus.events import Verdict
from consensus.log import Position
from consensus.messages import CompactBlock
from ledger import protocol, validity
from ledger.apply import Applied
from ledger.blocks import (
    Body,
    Evidence,
    Header,
    Receipt,
    header_hash,
)
from ledger.codec import decode_own, encode
from ledger.errors import InvariantViolation, OperatorError, OtherEpoch, PeerError
from ledger.genesis import Genesis
from ledger.state import Index, StateReader
from ledger.store import Batch, Overlay, Reader, Store
from ledger.tables import Table
from ledger.validity import HeightView
from ledger.votes import Certificate, ValidatorEntry, certificate_fault

from . import blockstore
from .ahead import Ahead, AheadBlock
from .blockstore import BlockReader, HeadRecord, StoredTransition
from .building import Builder, Committing
from .checking import CheckedBlock, Checker, check_spoken, proposed_body
from .decoded import Decoder
from .executor import execute
from .mempool import Mempool
from .seen import SeenFilter
from .steps import Steps
from .verified import TransactionVerifier
from .wire import RawBlock

UNDO_BLOCKS: Final = 4
"""Blocks that ``rollback`` can take back."""
AHEAD_MS_MAX: Final = 2_000
"""A fresh proposal further ahead of our clock is not prepared (DESIGN §4)."""
BEHIND_MS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Committed:
    """A block that is durable here, as the listeners get it."""

    height: int
    hash: bytes
    header: Header
    header_raw: bytes
    certificate: Certificate
    ids: tuple[bytes, ...]
    receipts: tuple[Receipt, ...]
    expired: tuple[bytes, ...]
    """Transactions that waited here and that this block is past."""
    body_bytes: int
    execution_s: float
    write_s: float
    """How long the synced batch took."""
    touched: frozenset[Table | Index]
    """Tables and indexes of the state in which something may be other than before."""


@dataclass(frozen=True, slots=True)
class _Executed:
    """What executing a block on the present head gave; its batch is not written yet."""

    hash: bytes
    view: HeightView
    """What it was executed on."""
    applied: Applied
    execution_s: float


class StateView:
    """One state, held in a snapshot (or an overlay over one) as long as somebody holds this."""

    def __init__(self, reader: Reader, height: int) -> None:
        self.height = height
        """The newest block this state includes."""
        self.reader = reader
        self.blocks = BlockReader(reader)
        self.state = StateReader(reader)


Listener = Callable[[Committed], None]


class Chain:
    """See the head of this file. Made by ``open_chain``."""

    def __init__(
        self,
        store: Store,
        genesis: Genesis,
        view: HeightView,
        *,
        mempool: Mempool,
        signatures: TransactionVerifier,
        clock_ms: Callable[[], int],
        write: Callable[[Batch], Awaitable[None]],
        log_position: Callable[[], Position],
        steps: Steps | None = None,
        evidence: Callable[[], tuple[Evidence, ...]] = tuple,
        on_committing: Callable[[Committing], None] = lambda committing: None,
        decoder: Decoder | None = None,
        protocol_newest: int = protocol.NEWEST,
    ) -> None:
        """``evidence`` gives what waits to be put into a fresh block, valid on the head of that moment.

        ``protocol_newest`` is the newest version of the protocol that this node speaks.
        """
        self.genesis = genesis
        self.view = view
        self.blocks = BlockReader(store)
        self._store = store
        self.mempool = mempool
        self._clock_ms = clock_ms
        self._write = write
        self._log_position = log_position
        self._on_committing = on_committing
        self.protocol_newest = protocol_newest
        self._steps = steps if steps is not None else Steps()
        self._seen = SeenFilter()
        self._seen.begin(self.blocks.recent_ids(view.height), view.header.time_ms)
        self._checker = Checker(
            seen=self.seen,
            mempool=mempool,
            signatures=signatures,
            decoder=decoder if decoder is not None else Decoder(self._steps),
            steps=self._steps,
            protocol_newest=protocol_newest,
        )
        self._ahead = Ahead(mempool=mempool, signatures=signatures, steps=self._steps, chain_id=genesis.chain_id)
        self._builder = Builder(mempool=mempool, clock_ms=clock_ms, evidence=evidence, decoded=self._checker.decoded)
        self.synced_position = Position(0, 0)
        """What the newest batch of this process says of the signing log."""
        self._turn = asyncio.Lock()
        self._executing = asyncio.Lock()
        """Held while a block is executed, and by a commit until its batch is written: no execution reads a state that
        changes.
        """
        self._executed: _Executed | None = None
        self._listeners: list[Listener] = []
        raw = self.blocks.certificate_raw(view.height)
        if raw is None:
            raise InvariantViolation(f"the head {view.height} has no certificate in the store")
        self.certificate = decode_own(Certificate, raw)
        self.current = StateView(store.snapshot(), view.height)
        self.certified = self._parent_state()
        self.fault: PeerError | None = None
        """Why the last block that was refused was refused, for the log."""

    def _parent_state(self) -> StateView:
        """After a start: the state before the head, from the head's undo pages."""
        undo = self.blocks.undo(self.height)
        if undo is None:
            return self.current
        overlay = Overlay(self.current.reader)
        overlay.apply(undo)
        return StateView(overlay, self.height - 1)

    # ---- the head ----

    @property
    def height(self) -> int:
        """Of the newest block."""
        return self.view.height

    @property
    def hash(self) -> bytes:
        """Of the newest block."""
        return self.view.header_hash

    @property
    def epoch(self) -> int:
        """In force for the next block."""
        return self.view.epoch

    @property
    def head_time_ms(self) -> int:
        """Consensus time of the newest block."""
        return self.view.header.time_ms

    @property
    def spoken(self) -> bool:
        """Whether this program speaks the version of the block above the head."""
        return self.view.version <= self.protocol_newest

    def check_spoken(self) -> None:
        """Go on above the head only when this program speaks the next block's version.

        Raises ``OperatorError`` PROTOCOL_UPGRADE_NEEDED.
        """
        check_spoken(self.view, self.protocol_newest)

    @property
    def upgrade_needed(self) -> str | None:
        """What this program lacks for an upgrade that was decided, in force or ahead; None: nothing."""
        ahead = self.view.upgrade
        try:
            if ahead is not None:
                protocol.check_known(ahead.version, ahead.height, self.protocol_newest)
        except OperatorError as error:
            return f"{error.what}; {error.why}"
        return None

    def seen(self, tx_id: bytes) -> bool:
        """Whether the transaction was committed within the validity window."""
        return self._seen.may_hold(tx_id) and self.blocks.place_of(tx_id) is not None

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` after each commit, in the order of registration; it may not raise."""
        self._listeners.append(listener)

    def context(self, own_keys: Sequence[bytes]) -> HeightContext:
        """What consensus needs for the next height; ``own_keys`` are our validator keys (none for an observer)."""
        view = self.view
        validators = view.next_validators
        positions = {entry.validator_key: index for index, entry in enumerate(validators)}
        own = [positions[key] for key in own_keys if key in positions]
        params = view.params
        return HeightContext(
            chain_id=view.chain_id,
            epoch=view.epoch,
            height=view.height + 1,
            parent_hash=view.header_hash,
            parent_certificate=self.certificate,
            validators=validators,
            index=own[0] if own else None,
            proposers=tuple(positions[entry.validator_key] for entry in view.proposers()),
            timing=Timing(params.timeout_ms, params.timeout_ms_max, params.certify_wait_ms),
            certify=view.certifying_due or view.recovery is not None,
            version=view.version,
            recovery=view.recovery,
        )

    def due_in_ms(self) -> int:
        """Milliseconds until a deadline or the heartbeat makes a block due, by our clock; 0 or less: it is due."""
        view, now_ms = self.view, self._clock_ms()
        heartbeat_ms = view.header.time_ms + view.params.heartbeat_ms - now_ms
        if view.next_due_ms is None:
            return heartbeat_ms
        return min(heartbeat_ms, view.next_due_ms - view.ledger_time(now_ms))

    def deadline_due(self) -> bool:
        """Whether a deadline's time has come, by our clock."""
        view = self.view
        return view.next_due_ms is not None and view.next_due_ms <= view.ledger_time(self._clock_ms())

    # ---- building ----

    def build(self, creator: ValidatorEntry, prove: Callable[[bytes], bytes]) -> CheckedBlock:
        """A fresh block on the head; ``prove`` gives the beacon proof over an alpha. It is valid by construction."""
        self.check_spoken()
        block = self._builder.build(self.view, self.certificate, creator, prove)
        self._checker.remember(block)
        return block

    def assemble_ahead(self, committing: Committing, prove: Callable[[bytes], bytes]) -> None:
        """Make ready what the next block can have already while the block below it is being written."""
        self._builder.assemble_ahead(committing, prove)

    # ---- checking ----

    async def check(self, block: CompactBlock, transactions: Sequence[bytes]) -> Verdict:
        """The node's part of checking a proposal (``consensus.effects.CheckBlock``).

        ``transactions`` are those of the block's ids, in order: whoever found them has compared the hashes.
        """
        view, hash_ = self.view, header_hash(block.header)
        checked = self._checker.known(hash_)
        if checked is None:
            body = proposed_body(view, block, transactions)
            try:
                checked = await self._checker.check(view, block.header, body, block.id_list())
            except PeerError as fault:
                self.fault = fault
                return Verdict.INVALID
            if self.view is not view:
                return Verdict.INVALID  # of a height decided meanwhile: nobody asks any more
            self._checker.remember(checked)
        return Verdict.STALE if self._is_stale(checked.header) else Verdict.VALID

    def _is_stale(self, header: Header) -> bool:
        """The earliest time a block may have is always fresh: so neither a chain that stood still for long, nor one
        whose time ran ahead while clocks were wrong, waits for the clocks.
        """
        if header.time_ms == self.view.header.time_ms + 1:
            return False
        return not -BEHIND_MS_MAX <= header.time_ms - self._clock_ms() <= AHEAD_MS_MAX

    # ---- committing ----

    async def decide(self, block: CompactBlock, transactions: Sequence[bytes], certificate: Certificate) -> None:
        """Commit what consensus decided; nothing happens when synchronisation was quicker."""
        async with self._turn:
            if certificate.height != self.height + 1:
                return
            checked = self._checker.known(certificate.block_hash)
            if checked is None:
                body = proposed_body(self.view, block, transactions)
                checked = await self._check_certified(block.header, body, block.id_list())
            await self._commit(checked, certificate)

    async def prepare(self, block: RawBlock) -> AheadBlock:
        """What can be found of a peer's block before its turn, but for signatures. Raises ``PeerError``."""
        return await self._ahead.prepare(block)

    async def prove(self, block: AheadBlock) -> AheadBlock:
        """The block with what the verifier's processes found of its signatures; nobody is blamed here."""
        return await self._ahead.prove(block, self.view)

    async def import_block(self, block: RawBlock | AheadBlock) -> bool:
        """Commit a block that a peer sent; false when it is not above the head any more.

        Raises ``PeerError`` when the certificate does not prove it, or the body is another's; ``OtherEpoch``, which is
        nobody's fault, when it is of an epoch that is not ours and does not begin with it.
        """
        ahead = await self.prepare(block) if isinstance(block, RawBlock) else block
        header, body = ahead.header, ahead.body
        async with self._turn:
            if header.height <= self.view.height:
                return False
            if header.height != self.view.height + 1:
                raise PeerError("WRONG_BLOCK", f"height {header.height} after {self.view.height}")
            expected = self.view.epoch + (body.recovery is not None)
            if header.epoch != expected:
                raise OtherEpoch(header.epoch, f"block {header.height}: {header.epoch}, here it is {expected}")
            view = validity.view_for(self.view, body.recovery)
            fault = certificate_fault(
                ahead.certificate, view.next_validators, view.chain_id, view.epoch, ahead.verifies
            )
            if fault is not None:
                raise PeerError("BAD_CERTIFICATE", f"height {header.height}: {fault}")
            checked = self._checker.known(ahead.hash)
            if checked is None:
                checked = await self._check_certified(ahead.raw.header, body, ahead.ids, ahead)
            await self._commit(checked, ahead.certificate)
            return True

    async def _check_certified(
        self, header_raw: bytes, body: Body, ids: Sequence[bytes], ahead: AheadBlock | None = None
    ) -> CheckedBlock:
        try:
            return await self._checker.check(self.view, header_raw, body, ids, ahead)
        except PeerError as error:
            raise InvariantViolation(
                f"block {self.height + 1} carries a valid certificate, but by our rules it is invalid: {error}"
            ) from error

    async def execute_ahead(self, hash_: bytes) -> None:
        """Execute a block that was found valid while it is being voted on; nothing is written, nobody is told.

        What another block is decided instead is executed as if this had not been.
        """
        async with self._executing:
            block = self._checker.known(hash_)
            if block is not None and (self._executed is None or self._executed.hash != hash_):
                self._executed = await self._execute(block)

    async def _execute(self, block: CheckedBlock) -> "_Executed":
        view = validity.view_for(self.view, block.body.recovery)
        begun_s = time.perf_counter()
        applied = await execute(self._store, view, block.header, block.body, block.transactions, steps=self._steps)
        self._steps.count("execute", len(block.transactions))
        return _Executed(block.hash, view, applied, time.perf_counter() - begun_s)

    async def _commit(self, block: CheckedBlock, certificate: Certificate) -> None:
        self.check_spoken()
        async with self._executing:
            executed, self._executed = self._executed, None
            if executed is None or executed.hash != block.hash:
                executed = await self._execute(block)
            await self._write_block(block, certificate, executed)

    async def _write_block(self, block: CheckedBlock, certificate: Certificate, executed: "_Executed") -> None:
        store, applied = self._store, executed.applied
        with self._steps.of("batch"):
            batch = self._batch(executed.view, block, certificate, applied)
            position = self._log_position()
            record = HeadRecord(
                height=block.height,
                hash=block.hash,
                state_root=applied.state_root,
                receipts_root=applied.receipts_root,
                log_sequence=position.sequence,
                log_crc=position.crc,
            )
            blockstore.put_head(batch, record)
        write_s = time.perf_counter()
        committing = Committing(applied.view, certificate, frozenset(tx_id for tx_id, _ in block.transactions))
        asyncio.get_running_loop().call_soon(self._on_committing, committing)  # runs while the batch is being written
        await self._write(batch)
        written_s = time.perf_counter()
        self._builder.note_speed(len(block.body_raw), executed.execution_s)
        with self._steps.of("commit"):
            waits_for_older = self.view.epoch < block.header.epoch  # not where ``recover apply`` put the epoch in force
            self.view, self.certificate, self.synced_position = applied.view, certificate, position
            self.certified, self.current = self.current, StateView(store.snapshot(), block.height)
            self._checker.head_moved()
            ids = tuple(tx_id for tx_id, _ in block.transactions)
            self._seen.add(ids, block.header.time_ms)
            expired = self.mempool.remove_committed(ids, block.header.time_ms)
            if waits_for_older:
                expired += self.mempool.expire_all()
            committed = Committed(
                height=block.height,
                hash=block.hash,
                header=block.header,
                header_raw=block.header_raw,
                certificate=certificate,
                ids=ids,
                receipts=applied.receipts,
                expired=tuple(expired),
                body_bytes=len(block.body_raw),
                execution_s=executed.execution_s,
                write_s=written_s - write_s,
                touched=applied.touched,
            )
            for listener in self._listeners:
                listener(committed)

    def _batch(self, old: HeightView, block: CheckedBlock, certificate: Certificate, applied: Applied) -> Batch:
        batch = applied.batch
        blockstore.put_undo(batch, block.height, applied.undo, UNDO_BLOCKS)
        blockstore.put_block(
            batch,
            height=block.height,
            block_hash=block.hash,
            header=block.header_raw,
            body=block.body_raw,
            certificate=certificate,
            receipts=applied.receipts,
            ids=[tx_id for tx_id, _ in block.transactions],
        )
        changed = block.header.next_validators_hash != old.header.next_validators_hash
        if changed or block.body.recovery is not None:
            blockstore.put_validators(batch, old.after_next_validators)
            transition = StoredTransition(block.header_raw, encode(certificate))
            blockstore.put_transition(batch, block.height, transition)
        return batch

    # ---- serving ----

    def raw_block(self, height: int) -> RawBlock | None:
        """A stored block above 0 with a certificate, for a node that is behind."""
        header = self.blocks.header_raw(height)
        body = self.blocks.body_raw(height)
        certificate = self.blocks.certificate_raw(height)
        if header is None or body is None or certificate is None:
            return None
        return RawBlock(header, body, certificate)

    def compact(self, block: CheckedBlock) -> CompactBlock:
        """The compact form of a block we built."""
        ids = b"".join(tx_id for tx_id, _ in block.transactions)
        body = block.body
        return CompactBlock(block.header_raw, ids, body.evidence, body.parent_certificate, body.recovery)
