"""Key files (DESIGN §3): one secret to a file, readable by its owner only, never overwritten.

A node has three *separate* keys: validator (Ed25519, votes), beacon (Ed25519 seed, ECVRF) and node (X25519, links). An
X25519 key converted from the validator's would hand the transport the signing scalar, and the remote signer would be
void. Organisation, member and clock keys lie in an operator's keystore, possibly offline.

Rules of this file

* A file is created complete or not at all (written beside, synced, then linked into place), mode 0600, in a directory
  of mode 0700; an existing file is never touched.
* A file that its group or others can read or write is refused, and so is one whose public half does not belong to its
  secret.
* ``protection`` is "none" today; another value is refused by name, so that encrypted files can come later.
"""

from __future__ import annotations

import os
import secrets
import stat
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final

from nacl.bindings import crypto_scalarmult_base

from ledger.errors import OperatorError
from ledger.signing import public_key

SECRET_BYTES: Final = 32
FILE_VERSION: Final = 1
FILE_BYTES_MAX: Final = 4_096
SUFFIX: Final = ".key"


class KeyKind(Enum):
    """What a key is for; the value stands in its file."""

    ORGANISATION = "organisation"
    VALIDATOR = "validator"
    BEACON = "beacon"
    NODE = "node"
    MEMBER = "member"
    CLOCK = "clock"


_ED25519: Final = "ed25519"
_X25519: Final = "x25519"
_ALGORITHM: Final[dict[KeyKind, str]] = {kind: _X25519 if kind is KeyKind.NODE else _ED25519 for kind in KeyKind}
_PUBLIC_OF: Final[dict[str, Callable[[bytes], bytes]]] = {_ED25519: public_key, _X25519: crypto_scalarmult_base}


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A secret (32-byte Ed25519 seed or X25519 scalar) with its public half. The secret is never in its ``repr``."""

    kind: KeyKind
    public: bytes
    secret: bytes = field(repr=False)


def pair_of(kind: KeyKind, secret: bytes) -> KeyPair:
    """The pair of a 32-byte secret."""
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes, not {len(secret)}")
    return KeyPair(kind, _PUBLIC_OF[_ALGORITHM[kind]](secret), secret)


def generate(kind: KeyKind) -> KeyPair:
    """A fresh key from the system's random generator."""
    return pair_of(kind, secrets.token_bytes(SECRET_BYTES))


# ---- one file --------------------------------------------------------------------------------------------------------


def render_key(pair: KeyPair) -> str:
    """The text of a key file."""
    return (
        f"# Huzhu {pair.kind.value} key. Whoever can read this file can act in its owner's name.\n"
        f"version = {FILE_VERSION}\n"
        f'kind = "{pair.kind.value}"\n'
        f'algorithm = "{_ALGORITHM[pair.kind]}"\n'
        f'public = "{pair.public.hex()}"\n'
        f'protection = "none"\n'
        f'secret = "{pair.secret.hex()}"\n'
    )


def write_key(path: Path, pair: KeyPair) -> None:
    """Create the key file durably. Raises ``OperatorError`` KEY_EXISTS or KEY_UNWRITABLE; never overwrites."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(render_key(pair))
                file.flush()
                os.fsync(file.fileno())
            os.link(beside, path)
        finally:
            beside.unlink()
        _sync_directory(path.parent)
    except FileExistsError as error:
        raise OperatorError(
            "KEY_EXISTS",
            f"there is a key at {path} already",
            "a key is never overwritten: it may be the only copy",
            "use it, or move it away first",
        ) from error
    except OSError as error:
        raise OperatorError(
            "KEY_UNWRITABLE", f"the key {path} cannot be written", str(error), "check the directory and the disk"
        ) from error


def read_key(path: Path, kind: KeyKind | None = None) -> KeyPair:
    """The key in ``path``; with ``kind``, only a key of that kind.

    Raises ``OperatorError``: KEY_MISSING, KEY_UNREADABLE, KEY_EXPOSED, KEY_MALFORMED, KEY_PROTECTED, KEY_WRONG_KIND.
    """
    pair = _parse(path, _read_private(path))
    if kind is not None and pair.kind is not kind:
        raise OperatorError(
            "KEY_WRONG_KIND",
            f"{path} holds a {pair.kind.value} key, a {kind.value} key is needed",
            "a key is used for one purpose only",
            "name the right file",
        )
    return pair


def _read_private(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise OperatorError(
            "KEY_MISSING", f"there is no key at {path}", "", "run `huzhu init` or `huzhu keys new`"
        ) from error
    except OSError as error:
        raise OperatorError(
            "KEY_UNREADABLE", f"the key {path} cannot be opened", str(error), "check its owner"
        ) from error
    try:
        status = os.fstat(descriptor)  # of the file opened, not of a name that may be replaced meanwhile
        if not stat.S_ISREG(status.st_mode):
            raise _malformed(path, "it is not a regular file")
        if status.st_mode & 0o077:
            raise OperatorError(
                "KEY_EXPOSED",
                f"others can use the key {path} (mode {stat.S_IMODE(status.st_mode):04o})",
                "a key file must belong to its owner alone",
                f"chmod 600 {path}, and think about who may have read it",
            )
        raw = os.read(descriptor, FILE_BYTES_MAX + 1)
    except OSError as error:
        raise OperatorError("KEY_UNREADABLE", f"the key {path} cannot be read", str(error), "check the disk") from error
    finally:
        os.close(descriptor)
    if len(raw) > FILE_BYTES_MAX:
        raise _malformed(path, f"it is longer than {FILE_BYTES_MAX} bytes")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed(path, "it is not text") from error


_FIELDS: Final = ("version", "kind", "algorithm", "public", "protection", "secret")


def _parse(path: Path, text: str) -> KeyPair:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # The parser's message may quote the line, and with it the secret: it is not passed on.
        raise _malformed(path, "it is not TOML") from error
    unknown, missing = sorted(set(table) - set(_FIELDS)), [name for name in _FIELDS if name not in table]
    if unknown or missing:
        raise _malformed(path, f"missing: {missing}, unknown: {unknown}")
    if table["version"] != FILE_VERSION:
        raise _malformed(path, f"its version is {table['version']!r}, this program reads {FILE_VERSION}")
    kinds = {kind.value: kind for kind in KeyKind}
    kind = kinds.get(table["kind"]) if isinstance(table["kind"], str) else None
    if kind is None:
        raise _malformed(path, f"there is no kind {table['kind']!r}; there are {', '.join(kinds)}")
    if table["algorithm"] != _ALGORITHM[kind]:
        raise _malformed(path, f"a {kind.value} key is {_ALGORITHM[kind]}, not {table['algorithm']!r}")
    if table["protection"] != "none":
        raise OperatorError(
            "KEY_PROTECTED",
            f"{path} is protected by {table['protection']!r}",
            "this program reads unprotected keys only",
            "use the version that wrote it",
        )
    pair = pair_of(kind, _hex(path, table["secret"], "secret"))
    if pair.public != _hex(path, table["public"], "public"):
        raise _malformed(path, "its public key does not belong to its secret")
    return pair


def _hex(path: Path, value: object, name: str) -> bytes:
    try:
        raw = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        raw = b""
    if len(raw) != SECRET_BYTES:
        raise _malformed(path, f"{name} is not {SECRET_BYTES} bytes in hexadecimal")
    return raw


def _malformed(path: Path, why: str) -> OperatorError:
    return OperatorError("KEY_MALFORMED", f"{path} is not a key file", why, "restore it from your backup of the keys")


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---- a node's three, and a keystore ----------------------------------------------------------------------------------

NODE_KINDS: Final = (KeyKind.VALIDATOR, KeyKind.BEACON, KeyKind.NODE)


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """The keys of a running node. An observer has a node key only; a validator has all three."""

    node: KeyPair
    validator: KeyPair | None
    beacon: KeyPair | None


def key_path(directory: Path, kind: KeyKind, name: str | None = None) -> Path:
    """Where a key lies: ``<kind>.key``, or ``<name>.key`` in a keystore of several."""
    return directory / f"{name or kind.value}{SUFFIX}"


def create_node_keys(directory: Path, *, observer: bool = False) -> dict[KeyKind, bool]:
    """Create the keys that are not there yet, check the others; says of each whether it was created."""
    created: dict[KeyKind, bool] = {}
    for kind in (KeyKind.NODE,) if observer else NODE_KINDS:
        path = key_path(directory, kind)
        created[kind] = not path.exists()
        if created[kind]:
            write_key(path, generate(kind))
        else:
            read_key(path, kind)
    return created


def load_node_keys(directory: Path, *, observer: bool = False) -> NodeKeys:
    """The keys of the node. An observer's validator and beacon keys are not even opened."""
    node = read_key(key_path(directory, KeyKind.NODE), KeyKind.NODE)
    paths = {kind: key_path(directory, kind) for kind in (KeyKind.VALIDATOR, KeyKind.BEACON)}
    if observer or not any(path.exists() for path in paths.values()):
        return NodeKeys(node, None, None)
    validator, beacon = (read_key(path, kind) for kind, path in paths.items())
    if validator.secret == beacon.secret:
        raise OperatorError(
            "KEYS_SHARED", "the validator key and the beacon key are the same", "", "create a separate beacon key"
        )
    return NodeKeys(node, validator, beacon)


def list_keys(directory: Path) -> list[tuple[Path, KeyPair]]:
    """Every key file of a keystore, by name. Raises like ``read_key`` for the first that is not in order."""
    if not directory.is_dir():
        return []
    return [(path, read_key(path)) for path in sorted(directory.glob(f"*{SUFFIX}")) if not path.name.startswith(".")]
