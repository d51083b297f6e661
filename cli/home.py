"""A node's home on disk: what ``init`` makes, so that ``start`` finds it. Nothing that exists is ever replaced;
only the founders' signatures become more while they sign.

The signing record belongs to one chain and one validator key, so it is written when both the keys and the genesis are
there; a validator without a record refuses to start, for it could contradict what it has signed before.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from consensus.records import FirstRecord
from ledger.errors import OperatorError
from ledger.genesis import Genesis, check_genesis_signatures, parse_genesis
from node.config import CONFIG_FILE, Config, load, render_default
from node.founding import read_signatures, signatures_path
from node.keys import KeyKind, create_node_keys, key_path, read_card
from node.votelog import LOG_FILE, create_log

CREATED: Final = "created"
KEPT: Final = "kept"
ADDED: Final = "added to"


@dataclass(frozen=True, slots=True)
class Made:
    """One path that ``init`` answers for, and whether it had to make it."""

    what: str
    path: Path
    state: str


def make_home(
    home: Path,
    *,
    genesis: bytes | None = None,
    signatures: str = "",
    observer: bool = False,
    values: Mapping[str, Any] | None = None,
    passphrase: bytes | None = None,
) -> list[Made]:
    """Make what is not there yet; every path in order of making. With a passphrase new keys are encrypted.

    ``signatures`` are the founders' of ``genesis``, ``values`` configuration keys of a new configuration file. Raises
    ``OperatorError`` when a key is not in order, the genesis or a signature is invalid, another genesis is in the home,
    or a file cannot be written.
    """
    home = home.expanduser().absolute()
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = [_write_new("configuration", home / CONFIG_FILE, _config_text(observer, values).encode())]
        config = load(home)
        created = create_node_keys(config.keys_path, observer=not config.holds_validator_keys, passphrase=passphrase)
        made += [
            Made(f"{kind.value} key", key_path(config.keys_path, kind), CREATED if new else KEPT)
            for kind, new in created.items()
        ]
        if genesis is not None:
            made.append(_place_genesis(config, genesis))
            made += _place_signatures(config, parse_genesis(genesis), signatures)
        if config.genesis_path.exists() and config.holds_validator_keys:
            made.append(_first_record(config, parse_genesis(config.genesis_path.read_bytes())))
    except OSError as error:
        raise OperatorError(
            "HOME_UNWRITABLE",
            f"the home {home} cannot be made",
            str(error),
            "choose another --home",
        ) from error
    return made


def _config_text(observer: bool, values: Mapping[str, Any] | None) -> str:
    chosen = dict(values or {})
    if observer:
        chosen["node.observer"] = True
    return render_default(chosen)


def _write_new(what: str, path: Path, content: bytes) -> Made:
    if path.exists():
        return Made(what, path, KEPT)
    write_durably(path, content)
    return Made(what, path, CREATED)


def write_durably(path: Path, content: bytes) -> None:
    """Put a file with ``content`` at ``path``, whole or not at all. Raises ``OSError``."""
    beside = path.with_name(f".{path.name}.new")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _place_signatures(config: Config, genesis: Genesis, text: str) -> list[Made]:
    """The founders' signatures: they become more while the founders sign, so those that are new are added."""
    path = signatures_path(config.genesis_path)
    present = read_signatures(config.genesis_path)
    check_genesis_signatures(genesis, text)
    merged = merge_signatures(present, text)
    check_genesis_signatures(genesis, merged)
    if merged == present:
        return [Made("signatures", path, KEPT)] if present else []
    write_durably(path, merged.encode())
    return [Made("signatures", path, ADDED if present else CREATED)]


def merge_signatures(*texts: str) -> str:
    """The lines of several ``genesis.sigs`` of one genesis, each once, in the order they are met."""
    lines = dict.fromkeys(line.strip() for text in texts for line in text.splitlines() if line.strip())
    return "".join(f"{line}\n" for line in lines)


def _place_genesis(config: Config, raw: bytes) -> Made:
    genesis, path = parse_genesis(raw), config.genesis_path
    if path.exists() and path.read_bytes() != raw:
        raise OperatorError(
            "GENESIS_DIFFERS",
            f"there is another genesis at {path}",
            f"its chain is not {genesis.chain_id.hex()[:16]}…",
            "use a new home for another chain",
        )
    return _write_new("genesis", path, raw)


def _first_record(config: Config, genesis: Genesis) -> Made:
    path = config.data_path / LOG_FILE
    if path.exists():
        return Made("signing record", path, KEPT)
    validator = read_card(key_path(config.keys_path, KeyKind.VALIDATOR), KeyKind.VALIDATOR)
    config.data_path.mkdir(mode=0o700, parents=True, exist_ok=True)
    create_log(config.data_path, FirstRecord(genesis.chain_id, validator.public, lost=False))
    return Made("signing record", path, CREATED)
