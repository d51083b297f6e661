"""What makes an offered snapshot believable: from the genesis to a certified header, and from it to the table roots.

Rules of this file

* Pure. The validators of the genesis are trusted; every later set is announced by a header that a quorum of the set
  before it has certified (a ``Transition``); the newest set has certified the header that holds the state root. This
  trusts what the full chain of headers trusts, for a header names the next set, and costs one certificate a change.
* A recovery (CONSENSUS §6) is crossed as a light client crosses it: the head that was kept is certified in the old
  epoch; the record names it and is signed for q seats of the set that it announced; the record's set has certified the
  block above. Without its record nothing of a later epoch is believed.
* The table lengths are claims until row 0 of ``meta`` is there (``check_lengths``); the roots are bound at once.
"""

from dataclasses import dataclass
from itertools import zip_longest

from ledger.blocks import Header, RecoveryRecord, decode_certificate, decode_header, header_hash, validators_hash
from ledger.codec import encode
from ledger.errors import MalformedBytes, PeerError, ProofFailed
from ledger.genesis import Genesis
from ledger.light import HeaderWalk, Link, Trust, genesis_trust
from ledger.protocol import check_known
from ledger.tables import TABLES, Table, TableReader, read_lengths, state_root
from ledger.votes import Certificate, ValidatorEntry, certificate_fault

from .blockstore import BlockReader
from .snapshot_wire import Snapshot, Transition

ValidatorSet = tuple[ValidatorEntry, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """A snapshot whose header is certified: what a node that joins fetches."""

    height: int
    """Of the certifying header; the state is that after the block before."""
    header: Header
    header_raw: bytes
    certificate: Certificate
    transitions: tuple[Transition, ...]
    lengths: tuple[int, ...]
    """By table tag; index 0 unused. Claims, until ``check_lengths``."""
    roots: tuple[bytes, ...]
    """By table tag; bound by the header."""
    sets: tuple[ValidatorSet, ...]
    """Every validator set there was, the genesis set first."""

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(self.lengths)

    @property
    def identity(self) -> tuple[bytes, tuple[int, ...]]:
        """Equal for two offers of which one may be fetched from both peers."""
        return self.header_raw, self.lengths


def make_offer(height: int, header: bytes, certificate: bytes, state: TableReader, blocks: BlockReader) -> Snapshot:
    """Offer the tables of ``state``, the state after ``height`` - 1, which ``header`` of ``height`` certifies."""
    transitions: list[Transition] = []
    for item in blocks.transitions():
        decoded = decode_header(item.header)
        following = blocks.validators(decoded.next_validators_hash)
        if decoded.height >= height or following is None:
            continue
        record = blocks.epoch_begun(decoded.height)
        if record is not None and record.head_height:
            transitions += _kept_head(record, transitions, blocks)
        transitions.append(Transition(item.header, item.certificate, following, record))
    tables = [Table(tag) for tag in range(1, TABLES + 1)]
    return Snapshot(
        height=height,
        header=header,
        certificate=certificate,
        transitions=tuple(transitions),
        lengths=tuple(state.length(table) for table in tables),
        roots=tuple(state.table_root(table) for table in tables),
    )


def _kept_head(record: RecoveryRecord, before: list[Transition], blocks: BlockReader) -> list[Transition]:
    """The head that a recovery kept, if it is not the newest transition already, nor missing here."""
    header, certificate = blocks.header_raw(record.head_height), blocks.certificate_raw(record.head_height)
    if header is None or certificate is None or (before and before[-1].header == header):
        return []
    following = blocks.validators(decode_header(header).next_validators_hash)
    return [] if following is None else [Transition(header, certificate, following, None)]


def check_offer(genesis: Genesis, offer: Snapshot) -> Target:
    """The offer's target, once its header is proven from the genesis and its roots from the header.

    Raises ``PeerError`` BAD_OFFER; ``OperatorError`` PROTOCOL_UPGRADE_NEEDED when the chain has gone beyond us."""
    trust = genesis_trust(genesis)
    validators = genesis.validators()
    sets = [validators]
    for item, above in zip_longest(offer.transitions, offer.transitions[1:]):
        if item.following == validators and item.recovery is None and (above is None or above.recovery is None):
            raise PeerError("BAD_OFFER", "a header that announces nothing")  # each costs a certificate
        trust = _followed(trust, item, validators)
        validators = item.following
        sets.append(validators)
    header, certificate = _certified(trust, offer.header, offer.certificate, validators)
    if header.height != offer.height:
        raise PeerError("BAD_OFFER", f"the header of {offer.height} says {header.height}")
    roots = (bytes(32), *offer.roots)
    if state_root(roots) != header.state_root:
        raise PeerError("BAD_OFFER", f"the tables are not those of header {header.height}")
    return Target(
        height=header.height,
        header=header,
        header_raw=offer.header,
        certificate=certificate,
        transitions=offer.transitions,
        lengths=(0, *offer.lengths),
        roots=roots,
        sets=tuple(sets),
    )


def check_lengths(target: Target, meta_row: bytes) -> None:
    """Compare the offered lengths with row 0 of ``meta``, which the header binds. Raises ``PeerError`` BAD_OFFER."""
    bound = read_lengths(meta_row)
    if tuple(bound) != target.lengths[1:]:
        raise PeerError("BAD_OFFER", "the tables have other lengths than were offered")


def _followed(trust: Trust, item: Transition, validators: ValidatorSet) -> Trust:
    """The transition's header, proven from the one before, whose set is ``validators``. Raises ``PeerError``."""
    if item.recovery is None:
        header, _ = _certified(trust, item.header, item.certificate, validators)
        if header.next_validators_hash != validators_hash(item.following):
            raise PeerError("BAD_OFFER", f"header {header.height} does not announce the validators that follow")
    else:
        if item.following != item.recovery.validators:
            raise PeerError("BAD_OFFER", "a new epoch begins with other validators than its record's")
        try:
            header = HeaderWalk(trust).step_over(Link(item.header, item.certificate), item.recovery, validators)
        except ProofFailed as error:
            raise PeerError("BAD_OFFER", str(error)) from error
    return Trust(trust.chain_id, header, header_hash(item.header))


def _certified(
    trust: Trust, header_raw: bytes, certificate_raw: bytes, validators: ValidatorSet
) -> tuple[Header, Certificate]:
    """A header above the trusted one, in its epoch, signed by ``validators``. Raises ``PeerError``."""
    try:
        header, certificate = decode_header(header_raw), decode_certificate(certificate_raw)
    except MalformedBytes as error:
        raise PeerError("BAD_OFFER", error.detail) from error
    where = f"header {header.height}"
    if encode(header) != header_raw or header.validators_hash != validators_hash(validators):
        raise PeerError("BAD_OFFER", f"{where} is not signed by the validators that were announced")
    if header.height <= trust.header.height or header.epoch != trust.header.epoch:
        raise PeerError("BAD_OFFER", f"{where} of epoch {header.epoch} after block {trust.header.height}")
    if (certificate.height, certificate.block_hash) != (header.height, header_hash(header_raw)):
        raise PeerError("BAD_OFFER", f"the certificate of {where} is another block's")
    fault = certificate_fault(certificate, validators, trust.chain_id, header.epoch)
    if fault is not None:
        raise PeerError("BAD_OFFER", f"{where}: {fault}")
    check_known(header.version, header.height)  # certified: not the peer's fault
    return header, certificate
