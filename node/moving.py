"""A validator moves to another machine, with its signing record, so that two copies can never both sign (issue 6).

The new machine makes a one-time key and hands over a *request*; the old one seals keys and record to it; the new one
opens the parcel once and forgets the one-time key. NODE §3: this is the only way a record moves.

Rules of this file

* The old home is retired, durably, *before* the parcel exists: it refuses to start from then on (KEY_MOVED), and its
  secrets are removed once the parcel is on the disk. Run again after a crash, it finishes the same move to the same
  request; another request is refused, for the first parcel may be on its way.
* Only the home that holds the one-time key can open the parcel, and it forgets that key in the end: a copy of the
  parcel is worth nothing. The validator key is written last of all, when the record is durable.
* A parcel is refused whole when a byte of it is altered (SealedBox) or the home holds other keys.
* Out of reach: whoever copies a whole home by hand. There LastSeen stands guard (CONSENSUS §3).
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

from consensus.log import START, Position, decode_log
from ledger.codec import decode, encode
from ledger.errors import MalformedBytes, OperatorError
from ledger.genesis import Genesis, parse_genesis

from .blockstore import BlockReader
from .config import CONFIG_FILE, Config, load, render_default
from .files import Files, SystemFiles
from .founding import read_signatures, read_signed_genesis, signatures_path
from .keys import NODE_KINDS, KeyKind, KeyPair, generate, key_path, load_node_keys, pair_of, read_key, write_key
from .opening import DATABASE_DIRECTORY
from .private_file import MOVED_FILE, create_private, read_private
from .storage import open_store
from .votelog import LOCK_FILE, LOG_FILE

REQUEST_KIND: Final = "huzhu move request"
PARCEL_MAGIC: Final = b"HUZHU-MOVE-1\n"
PARCEL_BYTES_MAX: Final = 512 << 20
RETIRED_LOG: Final = f"{LOG_FILE}.moved"

_Key = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class Parcel(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What moves: the genesis with its founders' signatures, the three secrets, the signing record's bytes."""

    genesis: bytes
    signatures: str
    validator: _Key
    beacon: _Key
    node: _Key
    record: bytes

    def pairs(self) -> list[KeyPair]:
        """The three keys; the validator's last."""
        secrets = {KeyKind.NODE: self.node, KeyKind.BEACON: self.beacon, KeyKind.VALIDATOR: self.validator}
        return [pair_of(kind, secret) for kind, secret in secrets.items()]


# ---- the new machine asks --------------------------------------------------------------------------------------------


def request_move(home: Path) -> bytes:
    """Make ``home`` ready to receive a validator; the request to hand over, the same one when asked again.

    Raises ``OperatorError`` MOVE_OCCUPIED when the home has a node's keys already.
    """
    config = _config_of(home)
    path = key_path(config.keys_path, KeyKind.MOVE)
    if not path.exists():
        _refuse_occupied(config, [kind for kind in NODE_KINDS if key_path(config.keys_path, kind).exists()])
        write_key(path, generate(KeyKind.MOVE))
    public = read_key(path, KeyKind.MOVE).public
    return (json.dumps({"kind": REQUEST_KIND, "version": 1, "public": public.hex()}, indent=2) + "\n").encode()


def _config_of(home: Path) -> Config:
    home = home.expanduser().absolute()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (home / CONFIG_FILE).exists():
        _write_durably(home / CONFIG_FILE, render_default({}).encode())
    return load(home)


def _refuse_occupied(config: Config, kinds: list[KeyKind]) -> None:
    if kinds:
        raise OperatorError(
            "MOVE_OCCUPIED",
            f"{config.keys_path} holds a {kinds[0].value} key already",
            "a validator moves into a home of its own",
            "name another --home",
        )


def read_request(raw: bytes) -> bytes:
    """The one-time public key of a request. Raises ``OperatorError`` MOVE_MALFORMED."""
    try:
        found = json.loads(raw[:4_096])
        public = bytes.fromhex(found["public"])
    except (ValueError, KeyError, TypeError) as error:
        raise _malformed("it is not a move request") from error
    if (found.get("kind"), found.get("version")) != (REQUEST_KIND, 1) or len(public) != PublicKey.SIZE:
        raise _malformed("it is not a move request of version 1")
    return public


def _malformed(why: str) -> OperatorError:
    return OperatorError(
        "MOVE_MALFORMED", "the file cannot be used", why, "make it again: `huzhu keys import --request FILE`"
    )


# ---- the old machine seals -------------------------------------------------------------------------------------------


def export_validator(config: Config, request: bytes, target: Path, files: Files | None = None) -> Path:
    """Retire the home and write the sealed parcel to ``target``; where the retired record is kept.

    Raises ``OperatorError``: MOVE_MALFORMED, MOVE_BEGUN (to another machine), NOT_A_VALIDATOR, LOG_LOCKED (the node
    runs), MOVE_UNWRITABLE, and what reading genesis, keys, database and record raises.
    """
    files = files or SystemFiles()
    public = read_request(request)
    aside = config.data_path / RETIRED_LOG
    with _alone(config, files):
        if not aside.exists():
            parcel = _packed(config, read_signed_genesis(config.genesis_path))
            _retire(config, public)
            _write_parcel(target, PARCEL_MAGIC + SealedBox(PublicKey(public)).encrypt(encode(parcel)))
            (config.data_path / LOG_FILE).replace(aside)
            files.fsync_directory(config.data_path)
        else:  # the parcel was written, and then the machine stopped
            _retire(config, public)
        for kind in NODE_KINDS:
            files.remove(key_path(config.keys_path, kind))
        files.fsync_directory(config.keys_path)
    return aside


def _write_parcel(target: Path, sealed: bytes) -> None:
    try:
        _write_durably(target, sealed, mode=0o600)
    except OSError as error:
        raise OperatorError(
            "MOVE_UNWRITABLE", f"{target} cannot be written", str(error), "run the same command again elsewhere"
        ) from error


def _packed(config: Config, genesis: Genesis) -> Parcel:
    keys = load_node_keys(config.keys_path, moved=True)
    if keys.validator is None or keys.beacon is None:
        raise OperatorError("NOT_A_VALIDATOR", f"there is no validator in {config.keys_path}", "", "check --home")
    if keys.validator_next is not None:
        raise OperatorError(
            "MOVE_ROTATING",
            "the validator's keys are being rotated",
            "only one pair moves",
            "finish the rotation first: `huzhu keys rotate --finish`",
        )
    raw = (config.data_path / LOG_FILE).read_bytes()
    record = decode_log(raw)
    known = _known(config, genesis)
    if known != START and not record.holds(known):
        raise OperatorError(
            "LOG_ROLLED_BACK",
            f"the signing log of {config.data_path} is older than the database",
            "a validator moves with everything it has signed, or not at all",
            "put the newest log back",
            exit_code=6,
        )
    signatures = read_signatures(config.genesis_path)
    secrets = keys.validator.secret, keys.beacon.secret, keys.node.secret
    return Parcel(genesis.raw, signatures, *secrets, raw[: record.offset])


def _known(config: Config, genesis: Genesis) -> Position:
    database = config.data_path / DATABASE_DIRECTORY
    if not database.is_dir():
        return START
    store = open_store(database, create=False, chain_id=genesis.chain_id)
    try:
        head = BlockReader(store).head()
        return START if head is None else Position(head.log_sequence, head.log_crc)
    finally:
        store.close()


def _retire(config: Config, public: bytes) -> None:
    path = config.keys_path / MOVED_FILE
    if not path.exists():
        create_private(path, f"moved to {public.hex()}\n")
    elif read_private(path).split()[-1:] != [public.hex()]:
        raise OperatorError(
            "MOVE_BEGUN",
            f"the validator of {config.home} was sealed to another machine before",
            f"its one-time key is in {path}",
            "import that parcel there; to move on from there, export again there",
        )


@contextmanager
def _alone(config: Config, files: Files) -> Iterator[None]:
    """Hold the signing record's lock, so that no node uses it meanwhile."""
    try:
        lock = files.lock(config.data_path / LOCK_FILE)
    except BlockingIOError as error:
        raise OperatorError(
            "LOG_LOCKED",
            f"the node of {config.home} is running",
            "what it signs from now on would not be in the parcel",
            "stop it first",
            exit_code=1,
        ) from error
    except OSError as error:
        raise OperatorError("LOG_FAILED", f"no record in {config.data_path}", str(error), "check --home") from error
    try:
        yield
    finally:
        files.close(lock)


# ---- the new machine opens -------------------------------------------------------------------------------------------


def import_validator(home: Path, sealed: bytes, passphrase: bytes | None = None) -> Config:
    """Open the parcel into ``home`` and forget the one-time key; run again after a crash, it finishes.

    Raises ``OperatorError``: MOVE_NOT_ASKED (this home holds no one-time key), MOVE_SEALED (not for this home, or
    altered), MOVE_MALFORMED, MOVE_OCCUPIED, and what writing raises.
    """
    config = _config_of(home)
    one_time = key_path(config.keys_path, KeyKind.MOVE)
    if not one_time.exists():
        raise OperatorError(
            "MOVE_NOT_ASKED",
            f"{home} waits for no validator",
            "a parcel can be opened once, by the home that asked for it",
            "`huzhu keys import --request FILE` here, then export to that request",
        )
    parcel = _open(sealed, read_key(one_time, KeyKind.MOVE))
    genesis = parse_genesis(parcel.genesis)
    pairs = parcel.pairs()
    others = [pair.kind for pair in pairs if _differs(config, pair)]
    _refuse_occupied(config, others)
    if not key_path(config.keys_path, KeyKind.VALIDATOR).exists():
        _write_same(config.genesis_path, genesis.raw)
        _write_same(signatures_path(config.genesis_path), parcel.signatures.encode())
        config.data_path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_same(config.data_path / LOG_FILE, parcel.record)
        for pair in pairs:
            path = key_path(config.keys_path, pair.kind)
            if not path.exists():
                write_key(path, pair, passphrase)
    SystemFiles().remove(one_time)
    SystemFiles().fsync_directory(config.keys_path)
    return config


def _open(sealed: bytes, one_time: KeyPair) -> Parcel:
    if not sealed.startswith(PARCEL_MAGIC) or len(sealed) > PARCEL_BYTES_MAX:
        raise _malformed("it is not a validator that moves")
    try:
        raw = SealedBox(PrivateKey(one_time.secret)).decrypt(sealed[len(PARCEL_MAGIC) :])
    except CryptoError as error:
        raise OperatorError(
            "MOVE_SEALED",
            "the file does not open here",
            "it was sealed to another request, or is not what was sealed",
            "bring it again, or check which machine asked for it",
            exit_code=6,
        ) from error
    try:
        return decode(Parcel, raw, bytes_max=PARCEL_BYTES_MAX)
    except MalformedBytes as error:
        raise _malformed(str(error)) from error


def _differs(config: Config, pair: KeyPair) -> bool:
    path = key_path(config.keys_path, pair.kind)
    return path.exists() and read_key(path, pair.kind).public != pair.public


def _write_same(path: Path, content: bytes) -> None:
    """Write what a first, interrupted run may have written already. Raises ``OperatorError`` MOVE_OCCUPIED."""
    if not path.exists():
        _write_durably(path, content, mode=0o600)
    elif path.read_bytes() != content:
        raise OperatorError(
            "MOVE_OCCUPIED", f"there is another {path.name} in {path.parent}", "", "name another --home"
        )


def _write_durably(path: Path, content: bytes, mode: int = 0o644) -> None:
    files = SystemFiles()
    beside = path.with_name(f".{path.name}.new")
    files.remove(beside)
    descriptor = files.create(beside)
    try:
        files.write(descriptor, content)
        files.fsync(descriptor)
    finally:
        files.close(descriptor)
    beside.chmod(mode)
    files.replace(beside, path)
    files.fsync_directory(path.parent)


def parcel_fields(config: Config) -> dict[str, Any]:
    """What an import may say of itself: public halves and paths, no secrets."""
    keys = {kind.value: read_key(key_path(config.keys_path, kind), kind).public.hex() for kind in NODE_KINDS}
    return {"home": str(config.home), **keys}
