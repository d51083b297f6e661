"""Backups: genesis, configuration and the whole database of one moment; never keys, never the signing record (NODE §3).

A restored validator has signed more than its backup knows. So its record is kept when the home still has it, and is
begun marked *lost* when it has not: LastSeen then asks the others before the first signature (CONSENSUS §3).

Rules of this file

* A backup appears under its name only when it is complete and durable; ``restore`` checks its digest before anything of
  it is used, and its genesis against the home's.
* Nothing that is there is replaced: a home with a database is reset first.
"""

import json
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from consensus.log import decode_log
from consensus.records import FirstRecord
from ledger.codec import encode
from ledger.errors import OperatorError
from ledger.genesis import check_genesis_signatures, parse_genesis
from ledger.store import Batch, Reader

from .blockstore import HEAD_KEY, BlockReader, HeadRecord
from .config import CONFIG_FILE, Config
from .copying import Progress, copy_database, sync_directory
from .files import SystemFiles
from .founding import read_signed_genesis, signatures_path
from .keys import KeyKind, key_path, read_card
from .opening import DATABASE_DIRECTORY
from .storage import open_store
from .votelog import LOG_FILE, create_log

MANIFEST: Final = "backup.json"
VERSION: Final = 1
GENESIS: Final = "genesis.toml"
SIGNATURES: Final = "genesis.sigs"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself."""

    chain_id: str
    height: int
    hash: str
    state_root: str
    digest: str
    """SHA-256 over every key and value of the database, in order."""

    def render(self) -> bytes:
        """The file's bytes."""
        fields: dict[str, Any] = {"kind": "huzhu backup", "version": VERSION}
        fields |= {name: getattr(self, name) for name in self.__slots__}
        return (json.dumps(fields, indent=2) + "\n").encode()


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a backup. Raises ``OperatorError`` BACKUP_INVALID."""
    try:
        found = json.loads((directory / MANIFEST).read_bytes())
        if (found.pop("kind"), found.pop("version")) != ("huzhu backup", VERSION):
            raise ValueError("another kind or version")
        if type(found["height"]) is not int:
            raise ValueError("the height is no number")
        return Manifest(**found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _invalid(directory, str(error)) from error


def _invalid(directory: Path, why: str) -> OperatorError:
    return OperatorError(
        "BACKUP_INVALID", f"{directory} is not a backup that can be used", why, "take another backup", exit_code=6
    )


# ---- taking one ------------------------------------------------------------------------------------------------------


def back_up(
    config: Config,
    source: Reader,
    target: Path,
    *,
    pace: float = 0.0,
    stop: threading.Event | None = None,
    progress: Progress = lambda keys, size: None,
) -> Manifest:
    """Write the state of ``source``, a snapshot or a stopped database, to the new directory ``target``.

    Raises ``OperatorError``: TARGET_EXISTS, COPY_FAILED, COPY_STOPPED, DISK_FULL, EMPTY_DATABASE.
    """
    genesis = read_signed_genesis(config.genesis_path)
    head = _head(source, config)
    if target.exists():
        raise OperatorError("TARGET_EXISTS", f"there is something at {target} already", "", "name another place")
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(mode=0o700, parents=True)
        digest = copy_database(
            source, partial / DATABASE_DIRECTORY, genesis.chain_id, pace=pace, stop=stop, progress=progress
        )
        manifest = Manifest(genesis.chain_id.hex(), head.height, head.hash.hex(), head.state_root.hex(), digest)
        _put(partial / GENESIS, genesis.raw)
        _put(partial / SIGNATURES, signatures_path(config.genesis_path).read_bytes())
        _put(partial / CONFIG_FILE, (config.home / CONFIG_FILE).read_bytes())
        _put(partial / MANIFEST, manifest.render())
        sync_directory(partial)
        partial.rename(target)
        sync_directory(target.parent)
    except OSError as error:
        raise OperatorError("COPY_FAILED", f"cannot write {target}", str(error), "check the directory") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _head(source: Reader, config: Config) -> HeadRecord:
    head = BlockReader(source).head()
    if head is None:
        raise OperatorError("EMPTY_DATABASE", f"the database of {config.home} is empty", "", "start the node first")
    return head


def _put(path: Path, content: bytes) -> None:
    files = SystemFiles()
    descriptor = files.create(path)
    try:
        files.write(descriptor, content)
        files.fsync(descriptor)
    finally:
        files.close(descriptor)


# ---- putting one back ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Restored:
    """What ``restore`` did."""

    manifest: Manifest
    record: str
    """``kept``, ``lost`` (begun, marked lost) or ``none`` (no validator key here)."""


def restore(
    config: Config, directory: Path, *, progress: Progress = lambda keys, size: None, check_only: bool = False
) -> Restored:
    """Put the backup in ``directory`` into the home of ``config``, whose node is stopped.

    Raises ``OperatorError``: BACKUP_INVALID, RESTORE_OCCUPIED (a database is there), GENESIS_DIFFERS, COPY_FAILED.
    """
    manifest = read_manifest(directory)
    genesis_raw, signatures = _genesis_of(directory, manifest)
    database = config.data_path / DATABASE_DIRECTORY
    if database.exists():
        raise OperatorError(
            "RESTORE_OCCUPIED",
            f"there is a database in {database}",
            "it may be newer than the backup",
            "huzhu reset --yes first",
        )
    if config.genesis_path.exists() and config.genesis_path.read_bytes() != genesis_raw:
        raise OperatorError(
            "GENESIS_DIFFERS", f"the home {config.home} is of another chain", "", "restore into another home"
        )
    chain_id = bytes.fromhex(manifest.chain_id)
    try:
        config.data_path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not config.genesis_path.exists():
            _put(signatures_path(config.genesis_path), signatures)
            _put(config.genesis_path, genesis_raw)
        record = _record(config, chain_id)
    except OSError as error:
        raise OperatorError("COPY_FAILED", f"cannot write {config.home}", str(error), "check the directory") from error
    source = open_store(directory / DATABASE_DIRECTORY, create=False, chain_id=chain_id)
    checked = config.data_path / f".{DATABASE_DIRECTORY}.checked"
    try:
        head = _head(source, config)
        if (head.height, head.hash.hex(), head.state_root.hex()) != (
            manifest.height,
            manifest.hash,
            manifest.state_root,
        ):
            raise _invalid(directory, "its database has another head than its manifest")
        shutil.rmtree(checked, ignore_errors=True)
        digest = copy_database(
            source, checked, chain_id, changed=Batch({HEAD_KEY: encode(_at_log(config, head))}), progress=progress
        )
        if digest != manifest.digest:
            raise _invalid(directory, "its database is not the one that its manifest names")
        checked.rename(database)
        sync_directory(config.data_path)
    finally:
        source.close()
        shutil.rmtree(checked, ignore_errors=True)
    return Restored(manifest, record)


def _genesis_of(directory: Path, manifest: Manifest) -> tuple[bytes, bytes]:
    try:
        raw, signatures = (directory / GENESIS).read_bytes(), (directory / SIGNATURES).read_bytes()
        genesis = parse_genesis(raw)
        missing = check_genesis_signatures(genesis, signatures.decode("utf-8"))
    except (OSError, UnicodeDecodeError, OperatorError) as error:
        raise _invalid(directory, str(error)) from error
    if genesis.chain_id.hex() != manifest.chain_id or missing:
        raise _invalid(directory, "its genesis is not the signed one that its manifest names")
    return raw, signatures


def _record(config: Config, chain_id: bytes) -> str:
    """Keep the signing record, or begin one marked lost."""
    key = key_path(config.keys_path, KeyKind.VALIDATOR)
    if not config.holds_validator_keys or not key.exists():
        return "none"
    if (config.data_path / LOG_FILE).exists():
        return "kept"
    create_log(config.data_path, FirstRecord(chain_id, read_card(key, KeyKind.VALIDATOR).public, lost=True))
    return "lost"


def _at_log(config: Config, head: HeadRecord) -> HeadRecord:
    """The head record, naming where the home's own log stands: the one of the backup is not this one."""
    path = config.data_path / LOG_FILE
    if not path.exists():
        return replace(head, log_sequence=0, log_crc=0)
    end = decode_log(path.read_bytes()).end
    return replace(head, log_sequence=end.sequence, log_crc=end.crc)
