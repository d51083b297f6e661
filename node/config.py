"""The node's configuration: one TOML file, fewer than 40 keys, each defined once (NODE §3).

Rules of this file

* A key is defined in exactly one place: a field of a section below, with its default, its check and its sentence. The
  parser, the commented default file, the environment's names and the table of the documentation are made from it.
* Precedence: flag > environment (``HUZHU_SECTION_KEY``) > file > default.
* An unknown key is an error with a suggestion, never ignored: an ignored limit is a limit that is not there.
* Everything is checked when it is loaded, so the running node holds typed, valid values and no dictionary.

Whether a node votes is not configured: it does when its validator key is in the validator set and ``node.observer``
is false.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, get_type_hints

from ledger.errors import OperatorError

from .addresses import PeerAddress, parse_peer
from .addresses import split_address as split_address

CONFIG_VERSION: Final = 1
CONFIG_FILE: Final = "config.toml"
ENVIRONMENT_PREFIX: Final = "HUZHU_"
KEYS_MAX: Final = 40

Check = Callable[[Any], str | None]
"""What is wrong with a value, as the end of the sentence "it ...", or None."""


# ---- checks ----------------------------------------------------------------------------------------------------------


def _address(value: str) -> str | None:
    try:
        split_address(value)
    except ValueError as error:
        return str(error)
    return None


def _peers(value: tuple[str, ...]) -> str | None:
    seen: set[bytes] = set()
    for text in value:
        try:
            peer = parse_peer(text)
        except ValueError as error:
            return f"has {text!r}, which {error}"
        if peer.node_key in seen:
            return f"names the node key {peer.node_key.hex()[:16]}… twice"
        seen.add(peer.node_key)
    return None


def _between(low: int, high: int) -> Check:
    return lambda value: None if low <= value <= high else f"must be from {low} to {high}"


def _one_of(*allowed: str) -> Check:
    return lambda value: None if value in allowed else f"must be one of {', '.join(allowed)}"


def _not_empty(value: str) -> str | None:
    return None if value else "must not be empty"


def _any(value: Any) -> str | None:
    return None


def _key(default: Any, doc: str, check: Check = _any, *, shown: str = "") -> Any:
    """A key. ``shown`` stands for the default in the documentation when it depends on the machine."""
    return field(default=default, metadata={"doc": doc, "check": check, "shown": shown})


# ---- the sections and their keys -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NodeSection:
    """The node itself and where its files are; relative paths are below the home directory."""

    name: str = _key("", "A name for logs and status; empty: the first digits of the node key.")
    observer: bool = _key(False, "Never vote, even with a validator key that is in the set.")
    genesis: str = _key("genesis.toml", "The genesis file; its exact bytes are the chain's identity.", _not_empty)
    keys_dir: str = _key("keys", "Directory of the node's key files (mode 0700, files 0600).", _not_empty)
    clock_offset_ms: int = _key(
        0,
        "Milliseconds by which this machine's clock is made wrong; only on a chain with a stepped clock.",
        _between(-3_600_000, 3_600_000),
    )
    data_dir: str = _key("data", "Directory of the database and the consensus log.", _not_empty)


@dataclass(frozen=True, slots=True)
class P2pSection:
    """Links to other nodes."""

    listen: str = _key("127.0.0.1:7040", "Where links are accepted, host:port; port 0 takes a free one.", _address)
    peers: tuple[str, ...] = _key((), 'Static peers, "nodekeyhex@host:port"; always allowed, always dialled.', _peers)


@dataclass(frozen=True, slots=True)
class ApiSection:
    """The HTTP API. Reading is open, so it listens on loopback unless told otherwise."""

    listen: str = _key("127.0.0.1:7050", "Where HTTP is served, host:port; port 0 takes a free one.", _address)
    body_bytes_max: int = _key(16_777_216, "Largest request body.", _between(4_096, 268_435_456))
    connections_max: int = _key(
        2_048,
        "Most connections at once; one more, and the oldest that serves no request is closed.",
        _between(8, 65_536),
    )
    waiters_max: int = _key(1_024, "Most requests that wait for a block at once.", _between(1, 65_536))
    tls_certificate: str = _key("", "PEM file of the certificate and its chain; with tls_key the API is served by TLS.")
    tls_key: str = _key("", "PEM file of the certificate's key.")
    requests_per_second: int = _key(
        2_000, "Requests a client address may make, sustained; 0: no limit.", _between(0, 1_000_000)
    )


@dataclass(frozen=True, slots=True)
class LogSection:
    """Logs: readable on a terminal, JSON in files."""

    level: str = _key("info", "debug, info, warning or error.", _one_of("debug", "info", "warning", "error"))
    format: str = _key(
        "auto", "On stderr: auto (text on a terminal, else json), text, json.", _one_of("auto", "text", "json")
    )
    file: str = _key("", "Also write JSON lines to this file; empty: do not.")
    summary_seconds: int = _key(30, "Interval of the summary line; 0: none.", _between(0, 86_400))


@dataclass(frozen=True, slots=True)
class VerifierSection:
    """Processes that check signatures."""

    workers: int = _key(
        min(2, max(1, (os.cpu_count() or 1) - 1)),
        "Verifier processes; 0 verifies in the node's own process (tests).",
        _between(0, 64),
        shown="1 or 2, below the number of processors",
    )
    verified_ids_max: int = _key(
        131_072, "Transaction ids remembered as verified, so that none is verified twice.", _between(1_024, 16_777_216)
    )


@dataclass(frozen=True, slots=True)
class MempoolSection:
    """Transactions that wait for a block. Quotas are of one signer."""

    transactions_max: int = _key(50_000, "Most transactions.", _between(1, 10_000_000))
    bytes_max: int = _key(134_217_728, "Most bytes of transactions.", _between(1_048_576, 17_179_869_184))
    organisation_transactions_max: int = _key(20_000, "Most of one organisation.", _between(1, 10_000_000))
    member_transactions_max: int = _key(16, "Most of one member with an own key.", _between(1, 100_000))
    unknown_transactions_max: int = _key(2, "Most of one key that nobody on chain has.", _between(0, 1_000))


@dataclass(frozen=True, slots=True)
class StorageSection:
    """The database."""

    cache_bytes: int = _key(67_108_864, "LevelDB's block cache.", _between(1_048_576, 68_719_476_736))
    free_bytes_min: int = _key(
        536_870_912, "Below this much free disk the node stops signing, and resumes above it.", _between(0, 2**50)
    )


@dataclass(frozen=True, slots=True)
class SignerSection:
    """A remote signer: the validator and beacon keys and the signing record in a process of their own."""

    socket: str = _key("", "Unix socket of `huzhu signer`; empty: the node holds its keys itself.")


@dataclass(frozen=True, slots=True)
class SyncSection:
    """Catching up with the chain."""

    mode: str = _key(
        "auto",
        "How an empty node joins: auto (a snapshot of a long chain, else blocks), blocks, snapshot.",
        _one_of("auto", "blocks", "snapshot"),
    )


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the operator chose, checked. ``home`` is the directory that relative paths start from."""

    home: Path
    node: NodeSection = field(default_factory=NodeSection)
    p2p: P2pSection = field(default_factory=P2pSection)
    api: ApiSection = field(default_factory=ApiSection)
    log: LogSection = field(default_factory=LogSection)
    verifier: VerifierSection = field(default_factory=VerifierSection)
    mempool: MempoolSection = field(default_factory=MempoolSection)
    storage: StorageSection = field(default_factory=StorageSection)
    sync: SyncSection = field(default_factory=SyncSection)
    signer: SignerSection = field(default_factory=SignerSection)

    @property
    def signer_path(self) -> Path | None:
        return self.home / self.signer.socket if self.signer.socket and not self.node.observer else None

    @property
    def holds_validator_keys(self) -> bool:
        """Whether the validator's keys are this home's: not an observer's, not with a remote signer."""
        return not self.node.observer and not self.signer.socket

    @property
    def genesis_path(self) -> Path:
        return self.home / self.node.genesis

    @property
    def keys_path(self) -> Path:
        return self.home / self.node.keys_dir

    @property
    def data_path(self) -> Path:
        return self.home / self.node.data_dir

    @property
    def tls_paths(self) -> tuple[Path, Path] | None:
        """Certificate and key of the API; ``None``: plain HTTP."""
        if not self.api.tls_certificate and not self.api.tls_key:
            return None
        return self.home / self.api.tls_certificate, self.home / self.api.tls_key

    @property
    def log_path(self) -> Path | None:
        return self.home / self.log.file if self.log.file else None

    @property
    def peers(self) -> tuple[PeerAddress, ...]:
        return tuple(parse_peer(text) for text in self.p2p.peers)


# ---- the table of keys -----------------------------------------------------------------------------------------------

SECTIONS: Final[dict[str, type[Any]]] = {
    "node": NodeSection,
    "p2p": P2pSection,
    "api": ApiSection,
    "log": LogSection,
    "verifier": VerifierSection,
    "mempool": MempoolSection,
    "storage": StorageSection,
    "sync": SyncSection,
    "signer": SignerSection,
}


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """One configuration key, for the parser and for the documentation."""

    name: str
    """``section.key``"""
    kind: type[Any]
    """bool, int, str, or tuple for a list of strings."""
    default: Any
    doc: str
    check: Check
    shown: str
    """The default as the documentation shows it."""

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return ENVIRONMENT_PREFIX + self.name.replace(".", "_").upper()


def _toml(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return f"{value:_}" if abs(value) >= 100_000 else str(value)
        case str():
            return _toml_string(value)
        case _:
            if not value:
                return "[]"
            return "[\n" + "".join(f"    {_toml_string(part)},\n" for part in value) + "]"


def _toml_string(text: str) -> str:
    escaped = "".join(
        f"\\u{ord(char):04x}" if ord(char) < 32 or ord(char) == 127 else f"\\{char}" if char in '"\\' else char
        for char in text
    )
    return f'"{escaped}"'


def _infos() -> Iterator[KeyInfo]:
    for section, kind in SECTIONS.items():
        hints = get_type_hints(kind)
        item: Field[Any]
        for item in fields(kind):
            hint = hints[item.name]
            basic = hint if isinstance(hint, type) and hint in (bool, int, str) else tuple
            about = item.metadata
            shown = about["shown"] or _toml(item.default)
            yield KeyInfo(f"{section}.{item.name}", basic, item.default, about["doc"], about["check"], shown)


KEYS: Final[dict[str, KeyInfo]] = {info.name: info for info in _infos()}
_BY_VARIABLE: Final[dict[str, KeyInfo]] = {info.variable: info for info in KEYS.values()}


# ---- loading ---------------------------------------------------------------------------------------------------------


def _error(what: str, why: str, following: str) -> OperatorError:
    return OperatorError("BAD_CONFIG", what, why, following)


def _suggestion(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else "see `huzhu config show` for the keys there are"


def _checked(info: KeyInfo, value: Any, source: str) -> Any:
    wanted = {bool: "true or false", int: "an integer", str: "a string", tuple: "a list of strings"}[info.kind]
    if info.kind is tuple and isinstance(value, list | tuple):
        value = tuple(value)
    well_typed = type(value) is info.kind and (info.kind is not tuple or all(isinstance(part, str) for part in value))
    fault = info.check(value) if well_typed else f"must be {wanted}"
    if fault is not None:
        raise _error(f"{source}: {info.name} {fault}", f"it is {value!r}", info.doc)
    return value


def _from_text(info: KeyInfo, text: str, source: str) -> Any:
    """The value of an environment variable or flag; lists are separated by commas."""
    value: Any = text
    if info.kind is bool:
        value = {"true": True, "1": True, "false": False, "0": False}.get(text.strip().lower(), text)
    elif info.kind is int:
        bare = text.strip().replace("_", "")
        value = int(bare) if bare.lstrip("-").isdecimal() and bare.isascii() and len(bare) <= 20 else text
    elif info.kind is tuple:
        value = tuple(part.strip() for part in text.split(",") if part.strip())
    return _checked(info, value, source)


def read_table(path: Path) -> dict[str, Any]:
    """A configuration file's table, not checked yet. Raises ``OperatorError`` MISSING_CONFIG, BAD_CONFIG."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise OperatorError(
            "MISSING_CONFIG", f"there is no configuration at {path}", "", "run `huzhu init`, or name another --home"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _error(f"{path} is not TOML", str(error), "mend the line, or compare with `huzhu config show`") from error
    except OSError as error:
        raise _error(f"{path} cannot be read", str(error), "check the path and its permissions") from error


def version_of(path: Path, table: Mapping[str, Any]) -> int:
    """The version that a file says it has. Raises ``OperatorError`` BAD_CONFIG for none, and for a later one."""
    version = table.get("config_version")
    if version is None:
        raise _error(f"{path}: config_version is missing", "", f"write config_version = {CONFIG_VERSION} at the top")
    if type(version) is not int or not 1 <= version <= CONFIG_VERSION:
        what = f"{path}: config_version is {version!r}, this program reads {CONFIG_VERSION}"
        raise _error(what, "a later program wrote it", "use that program, or write the file anew with `huzhu init`")
    return version


def _from_file(path: Path) -> dict[str, Any]:
    table = read_table(path)
    if version_of(path, table) < CONFIG_VERSION:
        what = f"{path}: config_version is {table['config_version']}, this program reads {CONFIG_VERSION}"
        raise _error(what, "an earlier program wrote it", "run `huzhu config migrate`")
    return checked_values(path, table)


def checked_values(path: Path, table: Mapping[str, Any]) -> dict[str, Any]:
    """``section.key`` -> value of a file of the present version. Raises ``OperatorError`` BAD_CONFIG."""
    values: dict[str, Any] = {}
    for section, content in table.items():
        if section == "config_version":
            continue
        if section not in SECTIONS:
            raise _error(f"{path}: unknown section or key {section!r}", "", _suggestion(section, [*SECTIONS, *KEYS]))
        if not isinstance(content, dict):
            raise _error(f"{path}: {section} is a section", f"it is {content!r}", f"write [{section}] on its own line")
        for key, value in content.items():
            name = f"{section}.{key}"
            if name not in KEYS:
                raise _error(f"{path}: unknown key {name!r}", "", _suggestion(name, list(KEYS)))
            values[name] = _checked(KEYS[name], value, str(path))
    return values


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    sections = tuple(f"{ENVIRONMENT_PREFIX}{section.upper()}_" for section in SECTIONS)
    for variable, text in environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        info = _BY_VARIABLE.get(variable)
        if info is not None:
            values[info.name] = _from_text(info, text, variable)
        elif variable.startswith(sections) or difflib.get_close_matches(variable, _BY_VARIABLE, n=1, cutoff=0.85):
            # Other HUZHU_ variables (HUZHU_HOME) belong to the command line.
            raise _error(f"unknown environment variable {variable}", "", _suggestion(variable, list(_BY_VARIABLE)))
    return values


def parse_overrides(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Checked values of keys given as text or typed. Raises ``OperatorError`` BAD_CONFIG."""
    values: dict[str, Any] = {}
    for name, value in overrides.items():
        if name not in KEYS:
            raise _error(f"unknown key {name!r}", "", _suggestion(name, list(KEYS)))
        parse = _from_text if isinstance(value, str) and KEYS[name].kind is not str else _checked
        values[name] = parse(KEYS[name], value, f"--set {name}")
    return values


def _build(home: Path, values: Mapping[str, Any]) -> Config:
    parts: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for name, value in values.items():
        section, _, key = name.partition(".")
        parts[section][key] = value
    return Config(home=home, **{section: kind(**parts[section]) for section, kind in SECTIONS.items()})


def load_with_sources(
    home: Path, overrides: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> tuple[Config, dict[str, str]]:
    """The configuration, and where each key's value comes from: flag, environment, file or default."""
    home = home.expanduser().absolute()
    values: dict[str, Any] = {}
    sources = dict.fromkeys(KEYS, "default")
    layers = (
        ("file", _from_file(home / CONFIG_FILE)),
        ("environment", _from_environment(os.environ if environ is None else environ)),
        ("flag", parse_overrides(overrides or {})),
    )
    for source, layer in layers:
        values.update(layer)
        sources.update(dict.fromkeys(layer, source))
    return _build(home, values), sources


def load(home: Path, overrides: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration of the node in ``home``. ``overrides``: ``section.key`` -> value, or its text.

    Raises ``OperatorError`` MISSING_CONFIG or BAD_CONFIG.
    """
    return load_with_sources(home, overrides, environ)[0]


# ---- writing ---------------------------------------------------------------------------------------------------------


def render_default(values: Mapping[str, Any] | None = None) -> str:
    """A commented configuration file. Keys in ``values`` are set, the others stand there as comments with defaults."""
    chosen = parse_overrides(values or {})
    lines = [
        "# Configuration of a Huzhu node. Precedence: flag > environment (HUZHU_SECTION_KEY) > this file > default.",
        "# A key that is commented out has the value shown. Unknown keys are errors.",
        f"config_version = {CONFIG_VERSION}",
    ]
    for section, kind in SECTIONS.items():
        lines += ["", f"# {(kind.__doc__ or '').splitlines()[0]}", f"[{section}]"]
        for item in fields(kind):
            info = KEYS[f"{section}.{item.name}"]
            lines.append(f"# {info.doc}")
            if info.name in chosen:
                lines.append(f"{item.name} = {_toml(chosen[info.name])}")
            else:
                lines.append(f"#{item.name} = {_toml(info.default)}")
    return "\n".join(lines) + "\n"


def describe() -> str:
    """The Markdown table of all keys, for the documentation."""
    rows = ["| key | default | environment | meaning |", "|---|---|---|---|"]
    rows += [f"| `{info.name}` | `{info.shown}` | `{info.variable}` | {info.doc} |" for info in KEYS.values()]
    return "\n".join(rows) + "\n"
