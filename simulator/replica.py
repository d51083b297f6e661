"""The chain of one simulated node: building, checking and committing blocks, as the node's ``Chain`` does, but pure.

``LightReplica`` executes transactions by hashing them; ``simulator.ledger`` executes them by the real rules. Both use
the ledger's own header, validity window, proposer order and skip rule. State changes only in ``commit``, at once: that
is the node's one synced batch, so a crash between the decision and the batch loses the block here too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256, sha512
from typing import Final, Protocol

from msgspec import structs

from consensus.context import HeightContext, Timing
from consensus.events import Verdict
from consensus.log import Position
from consensus.messages import CompactBlock
from consensus.scheme import Scheme
from ledger import beacon
from ledger.blocks import (
    Header,
    decode_header,
    genesis_certificate,
    genesis_header,
    header_hash,
    txs_root,
)
from ledger.codec import encode
from ledger.errors import InvariantViolation, PeerError, TransactionRejected
from ledger.params import ChainParams
from ledger.proposers import charge, eligible, failed, order, skips, skips_before
from ledger.rows import Validator
from ledger.transactions import AdvanceClock, Transaction, decode_transaction, transaction_id
from ledger.validity import HeightView, assemble_header, check_transactions
from ledger.votes import Certificate, ValidatorEntry

from .oracle import Oracle

CHAIN_ID: Final = sha256(b"huzhu simulation").digest()
START_MS: Final = 1_000_000
"""Consensus time of the genesis of simulated chains, on the virtual clock shifted by it."""
AHEAD_MS_MAX: Final = 2_000
BEHIND_MS_MAX: Final = 10_000
"""Bounds of a fresh proposal's time against one's own clock (DESIGN §4)."""
REMOVE, ADD, ROTATE = 1_000, 2_000, 3_000
"""``AdvanceClock(CHANGE + seat)`` stands for a decided change of the validator set in light chains."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A decided block as it is stored and served."""

    height: int
    hash: bytes
    header: Header
    block: CompactBlock
    transactions: tuple[bytes, ...]
    certificate: Certificate
    log: Position
    """The signing log's durable position when the batch was written."""


class Replica(Protocol):
    """What a simulated node needs of its chain."""

    view: HeightView
    oracle: Oracle
    chain: list[Sealed]

    @property
    def certificate(self) -> Certificate: ...

    def context(self, own_keys: Sequence[bytes], timing: Timing) -> HeightContext: ...

    def leaders(self) -> tuple[ValidatorEntry, ...]: ...

    def seen(self, tx_id: bytes) -> bool: ...

    def authentic(self, raw: bytes, transaction: Transaction) -> bool: ...

    def fault(self) -> str | None: ...

    def build(
        self,
        creator: ValidatorEntry,
        prove: Callable[[bytes], bytes],
        picked: Sequence[tuple[bytes, bytes]],
        time_ms: int,
    ) -> CompactBlock: ...

    def check(self, block: CompactBlock, transactions: Sequence[bytes], clock_ms: int) -> Verdict: ...

    def commit(
        self, block: CompactBlock, transactions: Sequence[bytes], certificate: Certificate, log: Position
    ) -> Sealed: ...

    def rewound(self, height: int) -> "Replica": ...

    def snapshot(self) -> "Replica": ...


class ReplicaBase:
    """What both kinds of chain share: the head as a ``HeightView``, the blocks, the ids committed in the window."""

    def __init__(self, view: HeightView, oracle: Oracle) -> None:
        self.view = view
        self.oracle = oracle
        self.chain: list[Sealed] = []
        self._genesis = genesis_certificate(view.header_hash)
        self._seen: dict[bytes, int] = {}
        """Committed transactions and their ``valid_until_ms``; forgotten once no block may hold them any more."""

    @property
    def certificate(self) -> Certificate:
        """Of the head."""
        return self.chain[-1].certificate if self.chain else self._genesis

    def context(self, own_keys: Sequence[bytes], timing: Timing) -> HeightContext:
        """What consensus needs for the next height."""
        view = self.view
        validators = view.next_validators
        positions = {entry.validator_key: index for index, entry in enumerate(validators)}
        own = [positions[key] for key in own_keys if key in positions]
        return HeightContext(
            chain_id=view.chain_id,
            epoch=view.epoch,
            height=view.height + 1,
            parent_hash=view.header_hash,
            parent_certificate=self.certificate,
            validators=validators,
            index=own[0] if own else None,
            proposers=tuple(positions[entry.validator_key] for entry in self.leaders()),
            timing=timing,
            certify=view.certifying_due,
            version=view.version,
        )

    def leaders(self) -> tuple[ValidatorEntry, ...]:
        """The proposers of the open height: that of round r is number r mod length."""
        return self.view.proposers()

    def seen(self, tx_id: bytes) -> bool:
        """Whether the transaction was committed within the validity window."""
        return tx_id in self._seen

    def authentic(self, raw: bytes, transaction: Transaction) -> bool:
        """Whether it is signed; light chains do not sign transactions."""
        return True

    def fault(self) -> str | None:
        """What does not add up in the state after the head; light chains have nothing to add up."""
        return None

    def build(
        self,
        creator: ValidatorEntry,
        prove: Callable[[bytes], bytes],
        picked: Sequence[tuple[bytes, bytes]],
        time_ms: int,
    ) -> CompactBlock:
        """A fresh block on the head."""
        view = self.view
        proof = prove(beacon.alpha(view.header.beacon, view.height + 1))
        header = assemble_header(
            view,
            time_ms=max(time_ms, view.header.time_ms + 1),
            transaction_ids=[tx_id for tx_id, _ in picked],
            creator=creator.validator_key,
            beacon_output=self._beacon_output(proof),
            beacon_proof=proof,
            parent_certificate=self.certificate,
        )
        return CompactBlock(encode(header), b"".join(tx_id for tx_id, _ in picked), (), self.certificate, None)

    def check(self, block: CompactBlock, transactions: Sequence[bytes], clock_ms: int) -> Verdict:
        """The node's part of checking a proposal (``consensus.effects.CheckBlock``)."""
        header = decode_header(block.header)
        try:
            decoded = self._decoded(transactions)
            self._check_valid(header, block, decoded)
        except PeerError:
            return Verdict.INVALID
        if any(tx_id in self._seen for tx_id, _ in decoded):
            return Verdict.INVALID
        ahead_ms = header.time_ms - clock_ms
        earliest = header.time_ms == self.view.header.time_ms + 1
        fresh = earliest or -BEHIND_MS_MAX <= ahead_ms <= AHEAD_MS_MAX
        return Verdict.VALID if fresh else Verdict.STALE

    def commit(
        self, block: CompactBlock, transactions: Sequence[bytes], certificate: Certificate, log: Position
    ) -> Sealed:
        """Execute the block and write it, in one step."""
        header = decode_header(block.header)
        if header.height != self.view.height + 1:
            raise InvariantViolation(f"block {header.height} on top of {self.view.height}")
        decoded = self._decoded(transactions)
        self.view = self._execute(header, block, decoded)
        for tx_id, transaction in decoded:
            self._seen[tx_id] = transaction.valid_until_ms
        self._seen = {tx_id: until for tx_id, until in self._seen.items() if until >= header.time_ms}
        sealed = Sealed(header.height, header_hash(block.header), header, block, tuple(transactions), certificate, log)
        self.chain.append(sealed)
        return sealed

    def _decoded(self, transactions: Sequence[bytes]) -> tuple[tuple[bytes, Transaction], ...]:
        try:
            return tuple((transaction_id(raw), decode_transaction(raw)) for raw in transactions)
        except TransactionRejected as error:
            raise PeerError("BAD_TRANSACTION", str(error)) from error

    def _beacon_output(self, proof: bytes) -> bytes:
        raise InvariantViolation("a replica of no kind")

    def _check_valid(self, header: Header, block: CompactBlock, decoded: tuple[tuple[bytes, Transaction], ...]) -> None:
        raise InvariantViolation("a replica of no kind")

    def _execute(
        self, header: Header, block: CompactBlock, decoded: tuple[tuple[bytes, Transaction], ...]
    ) -> HeightView:
        raise InvariantViolation("a replica of no kind")


class LightReplica(ReplicaBase):
    """State is a hash chain over the transactions, and the validator rows."""

    def __init__(
        self,
        params: ChainParams,
        rows: dict[int, Validator],
        scheme: Scheme,
        rotated: dict[int, bytes],
    ) -> None:
        """``rows`` are all seats, active or not; ``rotated`` is the second validator key of each."""
        self._params = params
        self._founding = dict(rows)
        self._rows = dict(rows)
        self._rotated = rotated
        self._scheme = scheme
        self._executed = bytes(32)
        validators = _set_of(rows)
        header = genesis_header(
            time_ms=START_MS, validators=validators, params_hash=params.hash(), beacon=sha512(CHAIN_ID).digest()
        )
        view = HeightView(
            chain_id=CHAIN_ID,
            epoch=0,
            params=params,
            height=0,
            header=header,
            header_hash=header_hash(encode(header)),
            parent_beacon=header.beacon,
            validators=validators,
            next_validators=validators,
            after_next_validators=validators,
            state_root=self._root(),
            receipts_root=txs_root([]),
            clock_offset_ms=0,
            eligible=eligible(validators, skips(rows), 1),
            next_due_ms=None,
            backlog_ms=None,
            certifying_due=False,
        )
        super().__init__(view, Oracle(scheme, CHAIN_ID, 0))

    def rewound(self, height: int) -> "LightReplica":
        """The same chain cut off above ``height``, executed again from the genesis."""
        fresh = LightReplica(self._params, self._founding, self._scheme, self._rotated)
        for sealed in self.chain[:height]:
            fresh.commit(sealed.block, sealed.transactions, sealed.certificate, sealed.log)
        return fresh

    def snapshot(self) -> "LightReplica":
        """Another node's replica that begins with our head's state, without executing what led to it."""
        fresh = LightReplica(self._params, self._founding, self._scheme, self._rotated)
        fresh.view, fresh._rows, fresh._executed = self.view, dict(self._rows), self._executed
        fresh.chain, fresh._seen = list(self.chain), dict(self._seen)
        return fresh

    def _beacon_output(self, proof: bytes) -> bytes:
        return sha512(proof).digest()

    def _check_valid(self, header: Header, block: CompactBlock, decoded: tuple[tuple[bytes, Transaction], ...]) -> None:
        view = self.view
        if header.time_ms <= view.header.time_ms:
            raise PeerError("TIME_NOT_ABOVE_PARENT")
        wanted = assemble_header(
            view,
            time_ms=header.time_ms,
            transaction_ids=[tx_id for tx_id, _ in decoded],
            creator=header.creator,
            beacon_output=self._beacon_output(header.beacon_proof),
            beacon_proof=header.beacon_proof,
            parent_certificate=block.parent_certificate,
        )
        if encode(wanted) != block.header:
            raise PeerError("WRONG_HEADER")
        if not any(entry.validator_key == header.creator for entry in view.next_validators):
            raise PeerError("UNKNOWN_CREATOR")
        check_transactions(view, header, decoded)
        certificate = block.parent_certificate
        if (certificate.height, certificate.block_hash) != (view.height, view.header_hash):
            raise PeerError("BAD_PARENT_CERTIFICATE")
        if view.height and self.oracle.certificate_fault(certificate, view.validators) is not None:
            raise PeerError("BAD_PARENT_CERTIFICATE")

    def _execute(
        self, header: Header, block: CompactBlock, decoded: tuple[tuple[bytes, Transaction], ...]
    ) -> HeightView:
        view = self.view
        for tx_id, transaction in decoded:
            self._executed = sha256(self._executed + tx_id).digest()
            if isinstance(transaction.body, AdvanceClock):
                self._change_set(transaction.body.to_ms)
        self._charge(view, header, block.parent_certificate)
        root = self._root()
        return replace(
            view,
            height=header.height,
            header=header,
            header_hash=header_hash(block.header),
            parent_beacon=view.header.beacon,
            validators=view.next_validators,
            next_validators=view.after_next_validators,
            after_next_validators=_set_of(self._rows),
            state_root=root,
            eligible=eligible(view.after_next_validators, skips(self._rows), header.height + 1),
            certifying_due=header.tx_count > 0 or root != view.state_root,
        )

    def _change_set(self, code: int) -> None:
        """A change of the set; refused when the rows make it impossible."""
        kind, seat = code // 1_000 * 1_000, code % 1_000
        row = self._rows.get(seat)
        active = sum(1 for other in self._rows.values() if other.active)
        if row is None:
            return
        if kind == REMOVE and row.active and active > 4:
            self._rows[seat] = structs.replace(row, active=False)
        elif kind == ADD and not row.active:
            self._rows[seat] = structs.replace(row, active=True)
        elif kind == ROTATE and row.active and seat in self._rotated:
            self._rows[seat] = structs.replace(row, validator_key=self._rotated[seat])

    def _charge(self, view: HeightView, header: Header, certificate: Certificate) -> None:
        """The skip rule, as ``ledger.apply`` does it."""
        rows, height = self._rows, header.height
        changed: dict[int, Validator] = {}
        if certificate.round > 0:
            able = eligible(view.validators, skips_before(rows, view.height), view.height)
            ordered = order(view.parent_beacon, view.height, able)
            seats = [seat for seat in failed(ordered, certificate.round) if seat in rows]
            changed = charge(rows, seats, height, view.params.skip_blocks)
        for seat, row in {**rows, **changed}.items():
            if row.validator_key == header.creator and row.fails:
                changed[seat] = structs.replace(row, fails=0)
        rows.update(changed)

    def _root(self) -> bytes:
        return sha256(self._executed + encode(sorted(self._rows.items()))).digest()


def _set_of(rows: dict[int, Validator]) -> tuple[ValidatorEntry, ...]:
    return tuple(
        ValidatorEntry(seat, row.organisation, sha256(b"org%d" % seat).digest(), row.validator_key, row.beacon_key)
        for seat, row in sorted(rows.items())
        if row.active
    )
