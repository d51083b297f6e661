"""What somebody without a node can check: headers, certificates, rows, inclusion; from one trusted block (LEDGER §10).

Rules of this file
- Pure, and it trusts nothing but a ``Trust``: the genesis, or one header whose hash the caller got elsewhere.
- Each header names its parent's hash and its validator set as the parent announced it, and carries a valid certificate
  of q of that set. The sets themselves come from the file and are taken by their hash alone.
- Whatever does not hold raises ``ProofFailed``, which says where. No byte goes unchecked, and what is not needed is
  refused.
- The protocol's version in a header is believed as the quorum signed it, if this program knows it and it does not fall:
  at which height an upgrade begins is a row, and rows are what headers certify.
- A new epoch is followed with its recovery record alone (CONSENSUS §6): signed for q seats of the set that the last
  header of the old epoch announced, it names that header and the set that goes on.

The idea is that of the light clients of Tendermint (Buchman, Kwon, Milosevic 2018, §5), without skipping.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from . import beacon, proofs
from .blocks import (
    Header,
    RecoveryRecord,
    decode_certificate,
    decode_header,
    genesis_header,
    header_hash,
    validators_hash,
)
from .codec import Wire, encode
from .errors import MalformedBytes, PeerError, ProofFailed
from .genesis import Genesis, genesis_beacon
from .limits import VALIDATORS_MAX
from .protocol import NEWEST, OLDEST, spoken
from .recovery import check_signed
from .votes import Certificate, ValidatorEntry, certificate_fault

ValidatorSet = tuple[ValidatorEntry, ...]
Path = tuple[tuple[bool, bytes], ...]
"""An inclusion path of RFC 6962 from the leaf upwards: (whether the sibling is on the left, its hash)."""
HASH_BYTES: Final = 32


class Link(Wire, frozen=True):
    """A header and a certificate for it, both as the exact bytes."""

    header: bytes
    certificate: bytes


class ChainProof(Wire, frozen=True):
    """Consecutive headers that follow a trusted block, and the validator sets that signed them."""

    anchor: bytes
    """The trusted header's bytes; empty: the genesis, whose header the verifier makes himself."""
    sets: tuple[ValidatorSet, ...]
    """Each set once, in the order of first use."""
    links: tuple[Link, ...]
    recoveries: tuple[RecoveryRecord, ...]
    """Of the epochs that begin on the way, in their order."""


@dataclass(frozen=True, slots=True)
class Trust:
    """A block that is believed without proof; everything else follows from it."""

    chain_id: bytes
    header: Header
    header_hash: bytes


def genesis_trust(genesis: Genesis) -> Trust:
    """Trust in a genesis file: its header of height 0 is made from the file, and binds the founders' validators."""
    header = genesis_header(
        time_ms=genesis.time_ms,
        validators=genesis.validators(),
        params_hash=genesis.params.hash(),
        beacon=genesis_beacon(genesis.chain_id),
    )
    return Trust(genesis.chain_id, header, header_hash(encode(header)))


def header_trust(chain_id: bytes, trusted_hash: bytes, header_raw: bytes) -> Trust:
    """Trust in the header with ``trusted_hash``, which the caller has from somebody he believes.

    Raises ``ProofFailed`` when ``header_raw`` is another one.
    """
    if header_hash(header_raw) != trusted_hash:
        raise ProofFailed("trusted header", f"its hash is {header_hash(header_raw).hex()}, not {trusted_hash.hex()}")
    return Trust(chain_id, decoded_header("trusted header", header_raw), trusted_hash)


# ---- headers -------------------------------------------------------------------------------------------------------


class HeaderWalk:
    """Checks headers one after the other, upwards from a trusted block; keeps only the newest."""

    def __init__(self, trust: Trust) -> None:
        self.trust = trust
        self.header = trust.header
        self.header_hash = trust.header_hash
        self.validators: ValidatorSet = ()
        """V(height) of the newest header; empty at the trusted block."""
        self.certificate: Certificate | None = None
        """Of the newest header."""

    @property
    def next_validators_hash(self) -> bytes:
        """By which the set of the following header is known."""
        return self.header.next_validators_hash

    def step(self, link: Link, validators: ValidatorSet) -> Header:
        """Check the header after the newest one and its certificate. Raises ``ProofFailed``."""
        where = f"header {self.header.height + 1}"
        header = decoded_header(where, link.header)
        self._check_follows(where, header)
        if header.epoch != self.header.epoch:
            raise ProofFailed(where, f"a recovery lies before it: epoch {header.epoch} after {self.header.epoch}")
        if header.validators_hash != self.header.next_validators_hash:
            raise ProofFailed(where, "its validator set is not the one that its parent announced")
        return self._take(link, header, validators)

    def step_over(self, link: Link, record: RecoveryRecord, announced: ValidatorSet) -> Header:
        """Check the first header of an epoch: ``announced`` is the set that the newest header names, whose
        organisations signed the record. Raises ``ProofFailed``."""
        where, parent = f"header {self.header.height + 1}", self.header
        header = decoded_header(where, link.header)
        self._check_follows(where, header)
        self._check_record(where, record, announced)
        if header.epoch != record.epoch or record.epoch != parent.epoch + 1:
            raise ProofFailed(where, f"epoch {header.epoch} after {parent.epoch}, the record is for {record.epoch}")
        own = validators_hash(record.validators)
        if (header.validators_hash, header.next_validators_hash) != (own, own):
            raise ProofFailed(where, "its validator sets are not the recovery record's")
        return self._take(link, header, record.validators)

    def _check_record(self, where: str, record: RecoveryRecord, announced: ValidatorSet) -> None:
        if validators_hash(announced) != self.header.next_validators_hash:
            raise ProofFailed(where, "the record was not signed by the set that its parent announced")
        if (record.head_height, record.head_hash) != (self.header.height, self.header_hash):
            raise ProofFailed(where, f"the recovery record names block {record.head_height}, or another one")
        try:
            check_signed(record, self.trust.chain_id, announced)
        except PeerError as error:
            raise ProofFailed(where, error.detail) from error

    def _take(self, link: Link, header: Header, validators: ValidatorSet) -> Header:
        self.certificate = self.check_certificate(link, validators)
        self.header, self.header_hash, self.validators = header, header_hash(link.header), validators
        return header

    def check_certificate(self, link: Link, validators: ValidatorSet) -> Certificate:
        """Check that the set which the header names has signed it. Raises ``ProofFailed``."""
        header = decoded_header("header", link.header)
        if validators_hash(validators) != header.validators_hash:
            raise ProofFailed(f"header {header.height}", "its validator set is not the one that its parent announced")
        where = f"certificate of header {header.height}"
        certificate = _decoded_certificate(where, link.certificate)
        if certificate.height != header.height or certificate.block_hash != header_hash(link.header):
            raise ProofFailed(
                where, f"it is for block {certificate.height} with the hash {certificate.block_hash.hex()}"
            )
        fault = certificate_fault(certificate, validators, self.trust.chain_id, header.epoch)
        if fault is not None:
            raise ProofFailed(where, fault)
        return certificate

    def _check_follows(self, where: str, header: Header) -> None:
        parent = self.header
        if not OLDEST <= header.version <= NEWEST:
            raise ProofFailed(where, f"protocol version {header.version}, this program speaks {spoken()}")
        if header.version < parent.version:
            raise ProofFailed(where, f"protocol version {header.version} after {parent.version}")
        if header.height != parent.height + 1:
            raise ProofFailed(where, f"it says height {header.height}")
        if header.parent != self.header_hash:
            raise ProofFailed(where, f"its parent is {header.parent.hex()}, not {self.header_hash.hex()}")
        if header.time_ms <= parent.time_ms:
            raise ProofFailed(where, "its time is not above its parent's")


@dataclass(frozen=True, slots=True)
class VerifiedChain:
    """Headers that were all checked, from the trusted block to the newest."""

    trust: Trust
    headers: Mapping[int, Header]
    """By height, the trusted one included."""
    sets: Mapping[bytes, ValidatorSet]
    """By their hash."""
    newest: Header
    signatures: int
    """In the newest header's certificate."""
    validators: int
    """In the set that had to sign it."""

    def header(self, height: int) -> Header:
        """A checked header. Raises ``ProofFailed`` for one that the file does not reach."""
        found = self.headers.get(height)
        if found is None:
            raise ProofFailed(f"header {height}", "the file has no such header")
        return found

    def beacon_of(self, height: int) -> bytes:
        """A header's beacon, after checking that its creator could give no other (RFC 9381 §5.3)."""
        header, parent = self.header(height), self.header(height - 1)
        where = f"beacon of header {height}"
        entries = self.sets.get(header.validators_hash, ())
        creator = next((entry for entry in entries if entry.validator_key == header.creator), None)
        if creator is None:
            raise ProofFailed(where, "the creator is no validator of this height")
        output = beacon.verify(creator.beacon_key, beacon.alpha(parent.beacon, height), header.beacon_proof)
        if output is None or output != header.beacon:
            raise ProofFailed(where, "its proof does not verify")
        return output


def verify_chain(trust: Trust, proof: ChainProof) -> VerifiedChain:
    """Check all headers of ``proof`` upwards from ``trust``. Raises ``ProofFailed``; an empty chain proves nothing."""
    sets = _sets_by_hash(proof.sets)
    walk, used = HeaderWalk(trust), dict[bytes, None]()
    headers = {trust.header.height: trust.header}
    recoveries = list(proof.recoveries)
    for link in proof.links:
        wanted = walk.next_validators_hash
        if wanted not in sets:
            raise ProofFailed(f"header {walk.header.height + 1}", "the file lacks its validator set")
        used[wanted] = None
        if recoveries and recoveries[0].head_height == walk.header.height:
            record = recoveries.pop(0)
            header = walk.step_over(link, record, sets[wanted])
            if header.validators_hash not in sets:
                raise ProofFailed(f"header {header.height}", "the file lacks its validator set")
            used[header.validators_hash] = None
        else:
            header = walk.step(link, sets[wanted])
        headers[header.height] = header
    if recoveries:
        raise ProofFailed("recovery records", "one that no header needs")
    if list(used) != list(sets):
        raise ProofFailed("validator sets", "not each once, in the order of first use")
    if walk.certificate is None:
        raise ProofFailed("headers", "there is none")
    return VerifiedChain(
        trust, headers, sets, walk.header, signatures=len(walk.certificate.seals), validators=len(walk.validators)
    )


def make_chain(
    anchor: bytes,
    records: Iterable[tuple[bytes, bytes, ValidatorSet | None]],
    recoveries: Iterable[tuple[RecoveryRecord, ValidatorSet]] = (),
) -> ChainProof:
    """The proof made of (header, certificate, validator set where it differs from the header's before), ascending.

    ``recoveries`` are the records of the epochs that begin on the way, each with the set that the head announced.
    """
    begun = {record.head_height + 1: (record, announced) for record, announced in recoveries}
    sets: dict[bytes, ValidatorSet] = {}
    links = []
    for header, certificate, validators in records:
        links.append(Link(header, certificate))
        at = decoded_header("headers", header).height if begun else 0
        if at in begun:
            announced = begun[at][1]
            sets.setdefault(validators_hash(announced), announced)
        if validators is not None:
            sets.setdefault(validators_hash(validators), validators)
    return ChainProof(anchor, tuple(sets.values()), tuple(links), tuple(begun[height][0] for height in sorted(begun)))


# ---- rows ----------------------------------------------------------------------------------------------------------


def proven_row(root: bytes, proof_raw: bytes, where: str) -> tuple[int, int, bytes]:
    """(table tag, row id, value) of an ICS-23 proof under the state ``root``. Raises ``ProofFailed``."""
    try:
        proof = proofs.decode(proof_raw)
    except MalformedBytes as error:
        raise ProofFailed(where, error.detail) from error
    if not proofs.verify(root, proof.key, proof.value, proof_raw):
        raise ProofFailed(where, "the proof does not lead to the state root")
    return proof.key[0], int.from_bytes(proof.key[1:], "big"), proof.value


# ---- inclusion -----------------------------------------------------------------------------------------------------


def inclusion_path(leaves: Sequence[bytes], index: int) -> Path:
    """The path of leaf ``index`` of a tree of RFC 6962, with the side of each sibling."""
    level = [sha256(b"\x00" + leaf).digest() for leaf in leaves]
    path: list[tuple[bool, bytes]] = []
    while len(level) > 1:
        if index ^ 1 < len(level):
            path.append((bool(index & 1), level[index ^ 1]))
        above = [sha256(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        level = above + level[len(level) & ~1 :]
        index >>= 1
    return tuple(path)


def includes(root: bytes, leaf: bytes, path: Path) -> bool:
    """Whether ``leaf`` is a leaf under ``root``. At which position is not told: the root does not bind the size."""
    value = sha256(b"\x00" + leaf).digest()
    for on_left, sibling in path:
        if len(sibling) != HASH_BYTES:
            return False
        value = sha256(b"\x01" + (sibling + value if on_left else value + sibling)).digest()
    return value == root


# ---- details -------------------------------------------------------------------------------------------------------


def _sets_by_hash(sets: tuple[ValidatorSet, ...]) -> dict[bytes, ValidatorSet]:
    found: dict[bytes, ValidatorSet] = {}
    for entries in sets:
        if not 1 <= len(entries) <= VALIDATORS_MAX:
            raise ProofFailed("validator sets", f"a set of {len(entries)}, 1 to {VALIDATORS_MAX} allowed")
        found[validators_hash(entries)] = entries
    if len(found) != len(sets):
        raise ProofFailed("validator sets", "a set stands twice")
    return found


def decoded_header(where: str, raw: bytes) -> Header:
    """The header of these bytes. Raises ``ProofFailed`` at ``where``."""
    try:
        return decode_header(raw)
    except MalformedBytes as error:
        raise ProofFailed(where, error.detail) from error


def _decoded_certificate(where: str, raw: bytes) -> Certificate:
    try:
        return decode_certificate(raw)
    except MalformedBytes as error:
        raise ProofFailed(where, error.detail) from error
