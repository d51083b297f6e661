"""The bundle: one signed file with which an organisation outside the consortium begins to join it (issue 6, joining).

Rules of this file

* It holds the genesis with its founders' signatures, the protocol versions spoken, where nodes of at least f + 1
  validators are found (so that one of them at least is honest), and the head as the writer saw it: a joining node takes
  no snapshot below it, so nobody can show it a past of the chain.
* It is signed by the organisation that writes it. Who takes it believes that organisation for the addresses and the
  head; the chain itself he believes for the founders' signatures.
* Everything is checked before anything is made of it: the same errors whoever reads it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.codec import Wire, decode, encode
from ledger.errors import MalformedBytes, OperatorError
from ledger.genesis import GENESIS_BYTES_MAX, Genesis, check_genesis_signatures, parse_genesis
from ledger.limits import NAME_BYTES_MAX
from ledger.protocol import NEWEST, OLDEST, spoken
from ledger.signing import PUBLIC_KEY_BYTES, Domain, public_key, sign, signing_digest, verify
from p2p.limits import KEY_BYTES

from .config import split_address

BUNDLE_VERSION: Final = 1
BUNDLE_BYTES_MAX: Final = GENESIS_BYTES_MAX + 1_048_576
PEERS_MAX: Final = 512
BUNDLE_FILE: Final = "bundle"
"""Its name in the home of a node that joined by it."""


class BundlePeer(Wire, frozen=True):
    """A node that a newcomer dials."""

    name: str
    """Of its organisation."""
    node_key: bytes
    address: str
    validator: bool


class Bundle(Wire, frozen=True):
    """What is signed."""

    version: int
    chain_id: bytes
    genesis: bytes
    signatures: str
    protocol_min: int
    protocol_max: int
    faults: int
    """f of the validator set at ``height``."""
    peers: tuple[BundlePeer, ...]
    height: int
    block_hash: bytes
    issued_ms: int


class SignedBundle(Wire, frozen=True):
    """The file."""

    content: bytes
    signer: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Read:
    """A bundle that holds, and who signed it."""

    bundle: Bundle
    genesis: Genesis
    signer: bytes
    founder: str | None
    """The founding organisation with that key; None: it joined later, or is none."""


def write_bundle(bundle: Bundle, seed: bytes) -> bytes:
    """The file, signed with an organisation's 32-byte ``seed``. Raises ``OperatorError`` when it would be refused."""
    content = encode(bundle)
    signature = sign(seed, signing_digest(Domain.BUNDLE, bundle.chain_id, 0, content))
    raw = encode(SignedBundle(content, public_key(seed), signature))
    read_bundle(raw)
    return raw


def read_bundle(raw: bytes) -> Read:
    """The bundle in a file.

    Raises ``OperatorError``: BUNDLE_INVALID, PROTOCOL_TOO_OLD, BUNDLE_PEERS, GENESIS_UNSIGNED and the genesis' own.
    """
    try:
        signed = decode(SignedBundle, raw, bytes_max=BUNDLE_BYTES_MAX)
        bundle = decode(Bundle, signed.content, bytes_max=BUNDLE_BYTES_MAX)
    except MalformedBytes as error:
        raise _invalid("it is not a bundle, or of another version", error.detail) from error
    digest = signing_digest(Domain.BUNDLE, bundle.chain_id, 0, signed.content)
    if len(signed.signer) != PUBLIC_KEY_BYTES or not verify(signed.signer, digest, signed.signature):
        raise _invalid("its signature does not hold", "it was altered on its way, or is not whole")
    _check_fields(bundle)
    _check_protocol(bundle)
    genesis = parse_genesis(bundle.genesis)
    if genesis.chain_id != bundle.chain_id:
        raise _invalid(
            "its genesis is another chain's", f"{genesis.chain_id.hex()}, while it names {bundle.chain_id.hex()}"
        )
    missing = check_genesis_signatures(genesis, bundle.signatures)
    if missing:
        raise OperatorError(
            "GENESIS_UNSIGNED",
            f"the genesis of the bundle is not signed by {', '.join(missing)}",
            "every founder's signature must be there",
            "ask the member that gave you the bundle for a whole one",
        )
    founder = next((item.name for item in genesis.organisations if item.key == signed.signer), None)
    return Read(bundle, genesis, signed.signer, founder)


def head_floor(home: Path) -> int:
    """The height below which a node that joined by the bundle in its home takes no snapshot; 0 without a bundle.

    Raises ``OperatorError`` when the file is there and does not hold."""
    path = home / BUNDLE_FILE
    try:
        return read_bundle(path.read_bytes()).bundle.height if path.is_file() else 0
    except OSError as error:
        raise _invalid(f"{path} cannot be read", str(error)) from error


def _check_fields(bundle: Bundle) -> None:
    if bundle.version != BUNDLE_VERSION:
        raise _invalid(f"it is of version {bundle.version}", f"this program reads {BUNDLE_VERSION}")
    fine = (
        len(bundle.chain_id) == len(bundle.block_hash) == 32
        and min(bundle.height, bundle.faults, bundle.issued_ms) >= 0
        and len(bundle.peers) <= PEERS_MAX
        and all(len(peer.node_key) == KEY_BYTES and len(peer.name.encode()) <= NAME_BYTES_MAX for peer in bundle.peers)
        and all(_dialable(peer.address) for peer in bundle.peers)
    )
    if not fine:
        raise _invalid("a field is out of range", "a key, a hash, a name or an address")
    keys = {peer.node_key for peer in bundle.peers if peer.validator}
    if len(keys) <= bundle.faults:
        raise OperatorError(
            "BUNDLE_PEERS",
            f"the bundle names nodes of {len(keys)} validators",
            f"{bundle.faults} of them may lie, so {bundle.faults + 1} are needed at least",
            "the member adds them: `huzhu join bundle --peer KEY@HOST:PORT`",
        )


def _check_protocol(bundle: Bundle) -> None:
    if bundle.protocol_min > NEWEST or bundle.protocol_max < OLDEST:
        raise OperatorError(
            "PROTOCOL_TOO_OLD" if bundle.protocol_min > NEWEST else "PROTOCOL_TOO_NEW",
            f"the chain speaks protocol {bundle.protocol_min} to {bundle.protocol_max}",
            f"this program speaks {spoken()}",
            "install a release that speaks it, or ask for a newer bundle",
        )


def _dialable(address: str) -> bool:
    try:
        return len(address) <= 256 and split_address(address)[1] > 0
    except ValueError:
        return False


def _invalid(what: str, why: str) -> OperatorError:
    return OperatorError("BUNDLE_INVALID", f"the bundle cannot be used: {what}", why, "ask the member for another one")
