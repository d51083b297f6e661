"""Whether a block is valid on the head, rule by rule, and what was found of the blocks in flight (DESIGN §2).

Rules of this file

* The head belongs to ``node.chain``: it comes in as a value (``HeightView``) and is never kept here.
* A block is decoded, hashed and its signatures verified once: what was found valid is remembered by its hash until the
  head moves. What synchronisation has found before a block's turn comes in with it (``ahead``).
* What is wrong with a block is a ``PeerError``; what that means, a refused proposal or our own bug, the caller knows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from consensus.messages import CompactBlock
from ledger import protocol, validity
from ledger.blocks import Body, Header, decode_header, header_hash
from ledger.codec import encode
from ledger.errors import MalformedBytes, PeerError, TransactionRejected
from ledger.recovery import same_record
from ledger.signing import verify
from ledger.transactions import Transaction
from ledger.validity import HeightView

from .ahead import AheadBlock, Decoded
from .decoded import Decoder
from .mempool import Mempool
from .steps import Steps
from .verified import TransactionVerifier

CHECKED_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class CheckedBlock:
    """A block found valid on the head of that moment."""

    height: int
    hash: bytes
    header: Header
    header_raw: bytes
    body: Body
    body_raw: bytes
    """The body, encoded once."""
    transactions: Decoded


class Checker:
    """See the head of this file."""

    def __init__(
        self,
        *,
        seen: Callable[[bytes], bool],
        mempool: Mempool,
        signatures: TransactionVerifier,
        decoder: Decoder,
        steps: Steps,
        protocol_newest: int,
    ) -> None:
        """``seen``: whether a block of the validity window holds the transaction of an id already."""
        self._seen = seen
        self._mempool = mempool
        self._signatures = signatures
        self._decoder = decoder
        self._steps = steps
        self._protocol_newest = protocol_newest
        self._checked: dict[bytes, CheckedBlock] = {}

    # ---- what was found ----

    def known(self, hash_: bytes) -> CheckedBlock | None:
        """The block of this hash, if it was found valid on the present head."""
        return self._checked.get(hash_)

    def remember(self, block: CheckedBlock) -> None:
        """It is valid on the present head."""
        if len(self._checked) >= CHECKED_MAX:
            del self._checked[next(iter(self._checked))]
        self._checked[block.hash] = block

    def head_moved(self) -> None:
        """Nothing that was found is of the present head any more."""
        self._checked.clear()

    # ---- the rules ----

    async def check(
        self, view: HeightView, header_raw: bytes, body: Body, ids: Sequence[bytes], ahead: AheadBlock | None = None
    ) -> CheckedBlock:
        """All rules of a block's validity on ``view``; ``ids`` are its transactions' hashes. Raises ``PeerError``.

        ``ahead``: the same block, with what was found of it before its turn.
        Raises ``OperatorError`` PROTOCOL_UPGRADE_NEEDED.
        """
        check_spoken(view, self._protocol_newest)
        try:
            header = decode_header(header_raw)
        except MalformedBytes as error:
            raise PeerError("HEADER_MALFORMED", error.detail) from error
        view = validity.view_for(view, body.recovery)
        with self._steps.of("check"):
            validity.check_header(view, header, header_raw)
            decoded = None if ahead is None else ahead.transactions
            transactions = self._decode(body.transactions, ids) if decoded is None else decoded
            body_raw = encode(body) if ahead is None else ahead.raw.body
            verifies = verify if ahead is None else ahead.verifies
            validity.check_body(view, header, body, transactions, body_bytes=len(body_raw), verifies=verifies)
            for tx_id, _ in transactions:
                # What waits in the mempool was not committed: a commit removes it from there.
                if tx_id not in self._mempool and self._seen(tx_id):
                    raise PeerError("DUPLICATE_TRANSACTION", tx_id.hex())
        if ahead is None or not ahead.verified:
            await self._verify(view.epoch, body.transactions, transactions)
        return CheckedBlock(header.height, header_hash(header_raw), header, header_raw, body, body_raw, transactions)

    def decoded(self, tx_id: bytes, raw: bytes) -> Transaction:
        """The transaction of these bytes; one that waits here was decoded before. Raises ``TransactionRejected``."""
        entry = self._mempool.get(tx_id)
        return self._decoder.decode(tx_id, raw) if entry is None else entry.transaction

    def _decode(self, raws: Sequence[bytes], ids: Sequence[bytes]) -> Decoded:
        decoded = []
        for tx_id, raw in zip(ids, raws, strict=True):
            try:
                decoded.append((tx_id, self.decoded(tx_id, raw)))
            except TransactionRejected as error:
                raise PeerError("BAD_TRANSACTION", str(error)) from error
        return tuple(decoded)

    async def _verify(self, epoch: int, raws: Sequence[bytes], transactions: Decoded) -> None:
        items = [(tx_id, raw, transaction) for raw, (tx_id, transaction) in zip(raws, transactions, strict=True)]
        verdicts = await self._signatures.verify(items, epoch, urgent=True)
        for (tx_id, _, _), valid in zip(items, verdicts, strict=True):
            if not valid:
                raise PeerError("BAD_TRANSACTION", f"the signature of {tx_id.hex()}")


def check_spoken(view: HeightView, protocol_newest: int) -> None:
    """Go on above the head only when this program speaks the next block's version.

    Raises ``OperatorError`` PROTOCOL_UPGRADE_NEEDED.
    """
    protocol.check_known(view.version, view.height + 1, protocol_newest)


def proposed_body(view: HeightView, block: CompactBlock, transactions: Sequence[bytes]) -> Body:
    """The body of a proposal. Of a recovery record that says the same our own copy is taken: its signatures are in
    order, and those of the other copy nothing binds.
    """
    ours, theirs = view.recovery, block.recovery
    if ours is not None and theirs is not None and same_record(ours, theirs):
        theirs = ours
    return Body(tuple(transactions), block.evidence, block.parent_certificate, theirs)
