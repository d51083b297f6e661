"""Walks exported blocks with ``msgpack``, ``hashlib``, PyNaCl and our slow Ed25519; shares no code with what it checks.

The export is a sequence of MessagePack arrays ``[header, body, certificate, receipts]``: the first three as the exact
bytes the nodes hashed and signed, the receipts as an array. Checked on the way, with this file's own code: the chain of
header hashes, the root of the transaction ids, the root of the receipts (certified one block later), each certificate's
quorum and signatures, and each transaction's signature.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgpack
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from . import ed25519


class AuditError(Exception):
    """The blocks, a bill or an account are not what the rules say."""


@dataclass(frozen=True)
class Block:
    """One checked block: height, times as in the header, decoded transactions beside their receipts."""

    height: int
    time_ms: int
    deadlines: list[tuple[int, int, int, str]]
    """(due, kind, id, code) in the order they were executed."""
    transactions: list[tuple[list[Any], bytes, str, list[int]]]
    """(body, signer, code, detail) in block order."""


@dataclass(frozen=True)
class Genesis:
    """The genesis file: its hash is the chain's name."""

    chain_id: bytes
    document: dict[str, Any]

    @property
    def validators(self) -> list[bytes]:
        """Validator keys in the order of the file, which is the order of the seats."""
        seats = [org["validator"] for org in self.document["organisation"] if "validator" in org]
        return [bytes.fromhex(seat["validator_key"]) for seat in seats]


def read_genesis(path: Path) -> Genesis:
    """The genesis file with its chain id."""
    raw = path.read_bytes()
    return Genesis(sha256(raw).digest(), tomllib.loads(raw.decode()))


def merkle_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 §2.1, level by level instead of by splitting."""
    if not leaves:
        return sha256(b"").digest()
    level = [sha256(b"\x00" + leaf).digest() for leaf in leaves]
    while len(level) > 1:
        pairs = [sha256(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            pairs.append(level[-1])
        level = pairs
    return level[0]


def _signed(domain: bytes, chain_id: bytes, epoch: int, payload: bytes) -> bytes:
    return sha256(domain + b"\x00" * (16 - len(domain)) + chain_id + epoch.to_bytes(4, "big") + payload).digest()


def _check_signature(public: bytes, message: bytes, signature: bytes, what: str) -> None:
    """By libsodium; what it refuses is judged by whole numbers, for the rule takes a few that it does not."""
    try:
        VerifyKey(public).verify(message, signature)
    except (BadSignatureError, ValueError) as error:
        if not ed25519.is_valid(public, message, signature):
            raise AuditError(f"{what}: the signature does not verify") from error


def _unpack(raw: bytes, what: str) -> Any:
    try:
        value = msgpack.unpackb(raw, strict_map_key=False, use_list=True)
    except (ValueError, msgpack.UnpackException) as error:
        raise AuditError(f"{what}: not MessagePack: {error}") from error
    return value


def _same(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise AuditError(f"{what}: found {found!r}, expected {expected!r}")


def _check_certificate(raw: bytes, height: int, block_hash: bytes, epoch: int, genesis: Genesis) -> None:
    certified_height, round_, certified_hash, seals = _unpack(raw, f"certificate {height}")
    _same(f"certificate {height}: height", certified_height, height)
    _same(f"certificate {height}: hash", certified_hash, block_hash)
    validators = genesis.validators
    if 3 * len({index for index, _ in seals}) < 2 * len(validators):
        raise AuditError(f"certificate {height}: {len(seals)} of {len(validators)} is no quorum")
    vote = msgpack.packb(["commit", height, round_, block_hash], use_bin_type=True)
    message = _signed(b"huzhu-commit", genesis.chain_id, epoch, vote)
    for index, signature in seals:
        _check_signature(validators[index], message, signature, f"certificate {height}, seat {index}")


def _transaction(raw: bytes, height: int, genesis: Genesis, epoch: int) -> tuple[list[Any], bytes]:
    version, body, signer, valid_until, salt, signature = _unpack(raw, f"a transaction of block {height}")
    unsigned = msgpack.packb([version, body, signer, valid_until, salt], use_bin_type=True)
    message = _signed(b"huzhu-tx", genesis.chain_id, epoch, unsigned)
    _check_signature(signer, message, signature, f"a transaction of block {height}")
    return body, signer


def _split(receipts: list[Any]) -> tuple[list[tuple[int, int, int, str]], list[tuple[bytes, str, list[int]]]]:
    deadlines = [(*subject, code) for subject, code, _ in receipts if isinstance(subject, list)]
    rest = [(subject, code, detail) for subject, code, detail in receipts if isinstance(subject, bytes)]
    return deadlines, rest


def _records(path: Path) -> Iterator[list[Any]]:
    with path.open("rb") as file:
        unpacker = msgpack.Unpacker(file, strict_map_key=False, max_buffer_size=2**31 - 1)
        try:
            yield from unpacker
        except (ValueError, msgpack.UnpackException) as error:
            raise AuditError(f"{path.name}: not MessagePack: {error}") from error


def walk(path: Path, genesis: Genesis) -> Iterator[Block]:
    """Every block of the export from height 1, checked. Raises ``AuditError`` at the first thing that is wrong."""
    previous_hash: bytes | None = None
    previous_receipts: bytes | None = None
    for height, record in enumerate(_records(path), start=1):
        if not isinstance(record, list) or len(record) != 4:
            raise AuditError(f"height {height}: not a block record")
        header_raw, body_raw, certificate_raw, receipts = record
        header = _unpack(header_raw, f"header {height}")
        _same("height", header[2], height)
        if previous_hash is not None:
            _same(f"header {height}: parent", header[4], previous_hash)
            _same(f"header {height}: receipts root of the parent", header[14], previous_receipts)
        transactions, evidence, parent_certificate, _recovery = _unpack(body_raw, f"body {height}")
        ids = [sha256(raw).digest() for raw in transactions]
        _same(f"header {height}: root of the transactions", header[6], merkle_root(ids))
        _same(f"header {height}: count of the transactions", header[7], len(ids))
        pieces = [msgpack.packb(piece, use_bin_type=True) for piece in evidence]
        _same(f"header {height}: root of the evidence", header[8], merkle_root(pieces))
        parent_hash = sha256(msgpack.packb(parent_certificate, use_bin_type=True)).digest()
        _same(f"header {height}: parent certificate", header[12], bytes(32) if height == 1 else parent_hash)
        previous_hash = sha256(header_raw).digest()
        _check_certificate(certificate_raw, height, previous_hash, header[1], genesis)
        deadlines, results = _split(receipts)
        _same(f"block {height}: receipts' transactions", [subject for subject, _, _ in results], ids)
        previous_receipts = merkle_root([msgpack.packb(receipt, use_bin_type=True) for receipt in receipts])
        decoded = [_transaction(raw, height, genesis, header[1]) for raw in transactions]
        yield Block(
            height,
            header[3],
            deadlines,
            [(body, signer, code, detail) for (body, signer), (_, code, detail) in zip(decoded, results, strict=True)],
        )
