"""Key files (DESIGN §3): one secret to a file, readable by its owner only, never overwritten.

A node has three *separate* keys: validator (Ed25519, votes), beacon (Ed25519 seed, ECVRF) and node (X25519, links). An
X25519 key converted from the validator's would hand the transport the signing scalar, and the remote signer would be
void. Organisation, member and clock keys lie in an operator's keystore, possibly offline.

Rules of this file

* A file is created complete or not at all (written beside, synced, then linked into place), mode 0600, in a directory
  of mode 0700; an existing file is never touched.
* A file that its group or others can read or write is refused, and so is one whose public half does not belong to its
  secret.
* A secret may be encrypted at rest (``protection = "argon2id"``, see ``node.protection``). Its public half and kind can
  be read without the passphrase; whether they are true is known when it is opened.
"""

from __future__ import annotations

import secrets
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final

from nacl.bindings import crypto_scalarmult_base

from ledger.errors import OperatorError
from ledger.signing import public_key

from .passphrase import FILE_VARIABLE, VARIABLE, Ask, from_surroundings
from .private_file import MOVED_FILE, create_private, malformed, read_private, replace_private
from .protection import METHOD, MODERATE, SALT_BYTES, Cost, Sealed, WrongPassphraseError, seal, unseal

SECRET_BYTES: Final = 32
FILE_VERSION: Final = 1
SUFFIX: Final = ".key"


class KeyKind(Enum):
    """What a key is for; the value stands in its file."""

    ORGANISATION = "organisation"
    VALIDATOR = "validator"
    BEACON = "beacon"
    NODE = "node"
    MEMBER = "member"
    CLOCK = "clock"
    IDENTITY = "identity"
    """Secret of the platform from which its members' identities are made (``ledger.member_card``)."""
    MOVE = "move"
    """One-time key of a home that waits for a validator (``node.moving``)."""


_ED25519: Final = "ed25519"
_X25519: Final = "x25519"
_ALGORITHM: Final[dict[KeyKind, str]] = {
    kind: _X25519 if kind in (KeyKind.NODE, KeyKind.MOVE) else _ED25519 for kind in KeyKind
}
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


def render_key(pair: KeyPair, passphrase: bytes | None = None, cost: Cost = MODERATE) -> str:
    """The text of a key file; with a passphrase, its secret is encrypted."""
    head = (
        f"# Huzhu {pair.kind.value} key. Whoever can {'read' if passphrase is None else 'open'} this file "
        "can act in its owner's name.\n"
        f"version = {FILE_VERSION}\n"
        f'kind = "{pair.kind.value}"\n'
        f'algorithm = "{_ALGORITHM[pair.kind]}"\n'
        f'public = "{pair.public.hex()}"\n'
    )
    if passphrase is None:
        return f'{head}protection = "none"\nsecret = "{pair.secret.hex()}"\n'
    sealed = seal(pair.secret, pair.kind.value, passphrase, cost)
    return (
        f'{head}protection = "{METHOD}"\n'
        f'salt = "{sealed.salt.hex()}"\n'
        f"passes = {cost.passes}\n"
        f"memory_bytes = {cost.memory_bytes}\n"
        f'sealed = "{sealed.box.hex()}"\n'
    )


def write_key(path: Path, pair: KeyPair, passphrase: bytes | None = None, cost: Cost = MODERATE) -> None:
    """Create the key file durably, encrypted if there is a passphrase.

    Raises ``OperatorError`` KEY_EXISTS or KEY_UNWRITABLE; never overwrites.
    """
    create_private(path, render_key(pair, passphrase, cost))


def protect_key(path: Path, passphrase: bytes | None, ask: Ask = from_surroundings, cost: Cost = MODERATE) -> KeyPair:
    """Write the same key again under another passphrase, or under none; the key stays the key.

    Raises ``OperatorError`` as ``read_key`` and ``write_key`` do.
    """
    pair = read_key(path, ask=ask)
    replace_private(path, render_key(pair, passphrase, cost))
    return pair


def read_key(path: Path, kind: KeyKind | None = None, ask: Ask = from_surroundings) -> KeyPair:
    """The key in ``path``; with ``kind``, only a key of that kind. ``ask`` is called when it is encrypted.

    Raises ``OperatorError``: KEY_MISSING, KEY_UNREADABLE, KEY_EXPOSED, KEY_MALFORMED, KEY_PROTECTED, KEY_WRONG_KIND,
    KEY_LOCKED (another passphrase), and what ``ask`` raises.
    """
    card, secret = _parse(path, read_private(path), kind)
    pair = pair_of(card.kind, _opened(path, card, secret, ask) if isinstance(secret, Sealed) else secret)
    if pair.public != card.public:
        raise malformed(path, "its public key does not belong to its secret")
    return pair


@dataclass(frozen=True, slots=True)
class KeyCard:
    """What a key file says without its secret."""

    kind: KeyKind
    public: bytes
    protection: str


def read_card(path: Path, kind: KeyKind | None = None) -> KeyCard:
    """What the file says of its key. Raises ``OperatorError`` like ``read_key``; a passphrase is not asked for."""
    card, secret = _parse(path, read_private(path), kind)
    if not isinstance(secret, Sealed) and pair_of(card.kind, secret).public != card.public:
        raise malformed(path, "its public key does not belong to its secret")
    return card


def _opened(path: Path, card: KeyCard, sealed: Sealed, ask: Ask) -> bytes:
    try:
        secret = unseal(sealed, card.kind.value, ask(str(path)))
    except WrongPassphraseError as error:
        raise OperatorError(
            "KEY_LOCKED",
            f"the key {path} does not open with this passphrase",
            "another passphrase, or an altered file",
            f"check {FILE_VARIABLE} or {VARIABLE}, or type it again",
        ) from error
    if len(secret) != SECRET_BYTES:
        raise malformed(path, "its secret has another length")
    return secret


_PLAIN: Final = ("version", "kind", "algorithm", "public", "protection", "secret")
_SEALED: Final = ("version", "kind", "algorithm", "public", "protection", "salt", "passes", "memory_bytes", "sealed")
_FIELDS: Final = {"none": _PLAIN, METHOD: _SEALED}


def _parse(path: Path, text: str, wanted: KeyKind | None) -> tuple[KeyCard, bytes | Sealed]:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # The parser's message may quote the line, and with it the secret: it is not passed on.
        raise malformed(path, "it is not TOML") from error
    protection = table.get("protection")
    fields = _FIELDS.get(protection) if isinstance(protection, str) else None
    if fields is None and isinstance(protection, str):
        raise OperatorError(
            "KEY_PROTECTED",
            f"{path} is protected by {protection!r}",
            f"this program knows {', '.join(_FIELDS)}",
            "use the version that wrote it",
        )
    fields = fields or _PLAIN
    unknown, missing = sorted(set(table) - set(fields)), [name for name in fields if name not in table]
    if unknown or missing:
        raise malformed(path, f"missing: {missing}, unknown: {unknown}")
    if table["version"] != FILE_VERSION:
        raise malformed(path, f"its version is {table['version']!r}, this program reads {FILE_VERSION}")
    kinds = {kind.value: kind for kind in KeyKind}
    kind = kinds.get(table["kind"]) if isinstance(table["kind"], str) else None
    if kind is None:
        raise malformed(path, f"there is no kind {table['kind']!r}; there are {', '.join(kinds)}")
    if table["algorithm"] != _ALGORITHM[kind]:
        raise malformed(path, f"a {kind.value} key is {_ALGORITHM[kind]}, not {table['algorithm']!r}")
    if wanted is not None and kind is not wanted:
        raise OperatorError(
            "KEY_WRONG_KIND",
            f"{path} holds a {kind.value} key, a {wanted.value} key is needed",
            "a key is used for one purpose only",
            "name the right file",
        )
    card = KeyCard(kind, _hex(path, table["public"], "public", SECRET_BYTES), str(protection))
    if fields is _PLAIN:
        return card, _hex(path, table["secret"], "secret", SECRET_BYTES)
    return card, _sealed(path, table)


def _sealed(path: Path, table: dict[str, Any]) -> Sealed:
    if not all(type(table[name]) is int for name in ("passes", "memory_bytes")):
        raise malformed(path, "passes and memory_bytes are not whole numbers")
    cost = Cost(table["passes"], table["memory_bytes"])
    if not cost.allowed:
        raise malformed(path, "its cost is out of bounds")
    return Sealed(_hex(path, table["salt"], "salt", SALT_BYTES), cost, _hex(path, table["sealed"], "sealed"))


def _hex(path: Path, value: object, name: str, size: int | None = None) -> bytes:
    try:
        raw = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        raw = b""
    if not raw or (size is not None and len(raw) != size):
        raise malformed(path, f"{name} is not {'' if size is None else f'{size} '}bytes in hexadecimal")
    return raw


# ---- a node's three, and a keystore ----------------------------------------------------------------------------------

NODE_KINDS: Final = (KeyKind.VALIDATOR, KeyKind.BEACON, KeyKind.NODE)
NEXT_KINDS: Final = (KeyKind.VALIDATOR, KeyKind.BEACON)


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """The keys of a running node. An observer has a node key only; a validator has all three."""

    node: KeyPair
    validator: KeyPair | None
    beacon: KeyPair | None
    validator_next: KeyPair | None = None
    """Keys that are to replace those two (``keys rotate``): they sign from the height on at which the chain says so."""
    beacon_next: KeyPair | None = None


def key_path(directory: Path, kind: KeyKind, name: str | None = None) -> Path:
    """Where a key lies: ``<kind>.key``, or ``<name>.key`` in a keystore of several."""
    return directory / f"{name or kind.value}{SUFFIX}"


def create_node_keys(
    directory: Path, *, observer: bool = False, passphrase: bytes | None = None, cost: Cost = MODERATE
) -> dict[KeyKind, bool]:
    """Create the keys that are not there yet, check the others; says of each whether it was created.

    With a passphrase those created are encrypted; the others stay as they are.
    """
    created: dict[KeyKind, bool] = {}
    for kind in (KeyKind.NODE,) if observer else NODE_KINDS:
        path = key_path(directory, kind)
        created[kind] = not path.exists()
        if created[kind]:
            write_key(path, generate(kind), passphrase, cost)
        else:
            read_card(path, kind)
    return created


def load_node_keys(
    directory: Path, *, observer: bool = False, ask: Ask = from_surroundings, moved: bool = False
) -> NodeKeys:
    """The keys of the node. An observer's validator and beacon keys are not even opened.

    Raises ``OperatorError`` KEY_MOVED when the validator went to another machine (unless ``moved``), and as
    ``read_key`` does.
    """
    if not moved:
        _check_not_moved(directory)
    ask = _asked_once(ask)
    node = read_key(key_path(directory, KeyKind.NODE), KeyKind.NODE, ask)
    seat = None if observer else _seat_keys(directory, ask)
    return NodeKeys(node, None, None) if seat is None else NodeKeys(node, *seat)


def load_seat_keys(directory: Path, *, ask: Ask = from_surroundings) -> tuple[KeyPair, ...]:
    """Validator and beacon key, and those that are to replace them if they are there: all that a signer needs.

    Empty where there are none. Raises ``OperatorError`` as ``load_node_keys`` does.
    """
    _check_not_moved(directory)
    return _seat_keys(directory, _asked_once(ask)) or ()


def _check_not_moved(directory: Path) -> None:
    if (directory / MOVED_FILE).exists():
        raise OperatorError(
            "KEY_MOVED",
            f"the validator of {directory} has moved to another machine",
            "two machines that sign with one key would contradict each other",
            "use the other machine, or a new home; `huzhu keys export` there brings it back to a home that asks",
        )


def _seat_keys(directory: Path, ask: Ask) -> tuple[KeyPair, ...] | None:
    paths = {kind: key_path(directory, kind) for kind in (KeyKind.VALIDATOR, KeyKind.BEACON)}
    if not any(path.exists() for path in paths.values()):
        return None
    validator, beacon = (read_key(path, kind, ask) for kind, path in paths.items())
    following = [read_key(path, kind, ask) for kind, path in next_paths(directory).items() if path.exists()]
    secrets_ = [pair.secret for pair in (validator, beacon, *following)]
    if len(set(secrets_)) < len(secrets_):
        raise OperatorError(
            "KEYS_SHARED", "the validator key and the beacon key are the same", "", "create a separate beacon key"
        )
    return (validator, beacon) if len(following) < len(NEXT_KINDS) else (validator, beacon, *following)


def next_paths(directory: Path) -> dict[KeyKind, Path]:
    """Where the keys lie that are to replace the validator's."""
    return {kind: key_path(directory, kind, f"{kind.value}-next") for kind in NEXT_KINDS}


def create_next_keys(directory: Path, passphrase: bytes | None = None, cost: Cost = MODERATE) -> dict[KeyKind, KeyCard]:
    """Make the keys that are to replace the validator's, those that are not there yet; their public halves.

    Nothing signs with them until the chain names them. Raises ``OperatorError`` as ``write_key`` and ``read_card`` do.
    """
    for kind, path in next_paths(directory).items():
        if not path.exists():
            write_key(path, generate(kind), passphrase, cost)
    return {kind: read_card(path, kind) for kind, path in next_paths(directory).items()}


def finish_rotation(directory: Path, in_force: bytes) -> list[Path]:
    """The chain names the next validator key (``in_force``): it takes the old one's place; where the old ones are now.

    Raises ``OperatorError`` NOT_IN_FORCE when ``in_force`` is not the next key's public half.
    """
    waiting = next_paths(directory)
    if not all(path.exists() for path in waiting.values()) or read_card(waiting[KeyKind.VALIDATOR]).public != in_force:
        raise OperatorError(
            "NOT_IN_FORCE",
            "the next validator key is not the one that the chain names",
            "its rotation is not decided, or two blocks have not passed since",
            "`huzhu keys rotate` says what to propose",
        )
    retired = []
    for kind in reversed(NEXT_KINDS):  # the beacon key first: a crash in between leaves the pair to be finished
        present = key_path(directory, kind)
        number = 1
        while (aside := present.with_name(f"{kind.value}-retired-{number}{SUFFIX}")).exists():
            number += 1
        present.rename(aside)
        waiting[kind].rename(present)
        retired.append(aside)
    return retired


def _asked_once(ask: Ask) -> Ask:
    """One passphrase for the keys of one node: a person is asked once."""
    known: list[bytes] = []

    def asked(wanted_for: str) -> bytes:
        if not known:
            known.append(ask(wanted_for))
        return known[0]

    return asked


def list_keys(directory: Path) -> list[tuple[Path, KeyCard]]:
    """Every key file of a keystore, by name. Raises like ``read_card`` for the first that is not in order."""
    if not directory.is_dir():
        return []
    return [(path, read_card(path)) for path in sorted(directory.glob(f"*{SUFFIX}")) if not path.name.startswith(".")]
