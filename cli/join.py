"""``huzhu join``: an organisation joins a chain that exists (docs/join.md).

A member writes a bundle; the newcomer takes it, which makes his home and his application; a member proposes it
(``org propose``), the others approve. Meanwhile his node waits, and ``join status`` says how far all of it is.
"""

import asyncio
import time
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from ledger.cards import render_card
from ledger.errors import OperatorError
from ledger.genesis import GenesisOrganisation, GenesisValidator
from ledger.protocol import NEWEST, OLDEST
from ledger.votes import faults
from node.addresses import parse_peer, split_address
from node.bundle import BUNDLE_FILE, BUNDLE_VERSION, Bundle, BundlePeer, Read, read_bundle, write_bundle
from node.config import Config, load, parse_overrides
from node.founding import read_genesis, read_signatures
from node.keys import KeyKind, KeyPair, generate, key_path, load_node_keys, read_key, write_key
from node.passphrase import new_passphrase

from .client import NodeClient, ask, node_option
from .genesis import parse_roles
from .home import CREATED, KEPT, make_home, write_durably
from .init import encrypt_option, home_option, set_option, setting
from .output import Exit, console, listing, output_option, table

APPLICATION: Final = "application.card"
WATCH_SECONDS: Final = 0.5
_FILE: Final = click.Path(path_type=Path, dir_okay=False)

key_option = click.option(
    "--key", "key_file", type=_FILE, help="The organisation's key file.  [default: organisation.key of the home]"
)


@click.group()
def join() -> None:
    """Join a chain that exists: bundle, accept, status."""


# ---- bundle ----------------------------------------------------------------------------------------------------------


@join.command()
@home_option
@key_option
@click.option("--address", default="", metavar="HOST:PORT", help="Where others reach this node.  [default: p2p.listen]")
@click.option(
    "--peer", "more", multiple=True, metavar="KEY@HOST:PORT", help="Another node of the chain; may be repeated."
)
@click.option("--out", type=_FILE, default=Path("bundle.huzhu"), show_default=True, help="The bundle to write.")
@output_option
def bundle(home: Path, key_file: Path | None, address: str, more: tuple[str, ...], out: Path) -> None:
    """Write the file with which a newcomer begins, from the running node in HOME, signed by its organisation."""
    config = load(home)
    pair = read_key(key_file or key_path(config.keys_path, KeyKind.ORGANISATION), KeyKind.ORGANISATION)
    genesis = read_genesis(config.genesis_path)
    found = ask(_own_api(config), _chain)
    own = load_node_keys(config.keys_path, observer=True).node.public
    peers = _peers(found, config, own, address, more)
    head = found["head"]
    content = Bundle(
        version=BUNDLE_VERSION,
        chain_id=genesis.chain_id,
        genesis=genesis.raw,
        signatures=read_signatures(config.genesis_path),
        protocol_min=int((head.get("protocol") or {}).get("version", OLDEST)),
        protocol_max=NEWEST,
        faults=faults(len(found["validators"])),
        peers=peers,
        height=int(head["height"]),
        block_hash=bytes.fromhex(head["hash"]),
        issued_ms=time.time_ns() // 1_000_000,
    )
    raw = write_bundle(content, pair.secret)
    _write(out, raw, "bundle")
    read = read_bundle(raw)
    text = f"{_words(read)}\n\nnext: give {out} to the newcomer: huzhu join accept {out.name} --home DIR"
    console().result(_summary(read) | {"bundle": str(out)}, text)


def _own_api(config: Config) -> str:
    return f"http://{config.api.listen}"


async def _chain(client: NodeClient) -> dict[str, Any]:
    """Head, validators and organisations, as this node knows them."""
    organisations: list[dict[str, Any]] = []
    after: dict[str, int] = {}
    while True:
        page = await client.get("/v1/organisations", **after)
        organisations += page["organisations"]
        if page.get("next") is None:
            break
        after = {"after": int(page["next"])}
    validators = (await client.get("/v1/validators"))["validators"]
    return {"head": await client.get("/v1/status"), "validators": validators, "organisations": organisations}


def _peers(
    found: dict[str, Any], config: Config, own: bytes, address: str, more: tuple[str, ...]
) -> tuple[BundlePeer, ...]:
    """The chain's nodes whose address is known: this one, the configured, those that their organisations name."""
    addresses: dict[bytes, str] = {}
    for item in found["organisations"]:
        if item["address"] and len(item["node_keys"]) == 1:
            addresses[bytes.fromhex(item["node_keys"][0])] = item["address"]
    for peer in (*config.peers, *(_parse_peer(text) for text in more)):
        addresses[peer.node_key] = f"{peer.host}:{peer.port}"
    listens = address or addresses.get(own, config.p2p.listen)
    if split_address(listens)[1] > 0:
        addresses[own] = listens
    voting = {entry["name"] for entry in found["validators"]}
    return tuple(
        BundlePeer(item["name"], bytes.fromhex(key), addresses[bytes.fromhex(key)], item["name"] in voting)
        for item in found["organisations"]
        for key in item["node_keys"]
        if item["state"] != "REMOVED" and bytes.fromhex(key) in addresses
    )


def _parse_peer(text: str) -> Any:
    try:
        return parse_peer(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not KEY@HOST:PORT", param_hint="--peer") from error


# ---- accept ----------------------------------------------------------------------------------------------------------


@join.command()
@click.argument("file", type=_FILE)
@home_option
@click.option("--name", required=True, help="The organisation's name.")
@click.option("--roles", required=True, metavar="ROLE,ROLE", help="What it will do, as in `huzhu genesis card`.")
@click.option("--address", required=True, metavar="HOST:PORT", help="Where others reach its node.")
@click.option("--observer", is_flag=True, help="A node that will never vote: it gets a node key only.")
@set_option
@encrypt_option
@output_option
def accept(
    file: Path,
    home: Path,
    name: str,
    roles: str,
    address: str,
    observer: bool,
    settings: tuple[str, ...],
    encrypt: bool,
) -> None:
    """Check the bundle FILE; make keys, configuration and signing record in HOME; write the application.

    Nothing that exists is replaced: run again, it says the same.
    """
    read = _read(file)
    values = parse_overrides(dict(setting(text) for text in settings))
    values |= {"node.name": name, "p2p.peers": _dialled(read)}
    values.setdefault("p2p.listen", address)
    passphrase = new_passphrase(f"the keys in {home}") if encrypt else None
    made = make_home(
        home,
        genesis=read.genesis.raw,
        signatures=read.bundle.signatures,
        observer=observer,
        values=values,
        passphrase=passphrase,
    )
    config = load(home)
    write_durably(config.home / BUNDLE_FILE, file.read_bytes())
    pair, key_state = _organisation_key(config, passphrase)
    card = _application(config, pair, name, roles, address)
    path = config.home / APPLICATION
    _write(path, card, "application")
    paths = [{"what": item.what, "path": str(item.path), "state": item.state} for item in made]
    paths.append(
        {"what": "organisation key", "path": str(key_path(config.keys_path, KeyKind.ORGANISATION)), "state": key_state}
    )
    data = _summary(read) | {
        "home": str(config.home),
        "paths": paths,
        "application": str(path),
        "card": card.decode(),
        "card_hex": card.hex(),
    }
    rows = [(item["what"], item["state"], item["path"]) for item in paths]
    text = (
        f"{_words(read)}\n\n{table(('what', 'state', 'path'), rows)}\n\n"
        f"next: give {path} to a member, who runs: huzhu org propose {APPLICATION}\n"
        f"      huzhu start --home {home}     (it waits, and joins when {name} is admitted)"
    )
    console().result(data, text)


def _read(file: Path) -> Read:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise OperatorError(
            "BUNDLE_UNREADABLE", f"the bundle {file} cannot be read", str(error), "check the path"
        ) from error
    return read_bundle(raw)


def _dialled(read: Read) -> tuple[str, ...]:
    return tuple(f"{peer.node_key.hex()}@{peer.address}" for peer in read.bundle.peers)


def _organisation_key(config: Config, passphrase: bytes | None) -> tuple[KeyPair, str]:
    path = key_path(config.keys_path, KeyKind.ORGANISATION)
    if path.exists():
        return read_key(path, KeyKind.ORGANISATION), KEPT
    pair = generate(KeyKind.ORGANISATION)
    write_key(path, pair, passphrase)
    return pair, CREATED


def _application(config: Config, pair: KeyPair, name: str, roles: str, address: str) -> bytes:
    """The organisation's signed card."""
    keys = load_node_keys(config.keys_path, observer=config.node.observer)
    validator = None
    if keys.validator is not None and keys.beacon is not None:
        validator = GenesisValidator(keys.validator.public, keys.beacon.public)
    found = GenesisOrganisation(name, parse_roles(roles), pair.public, (keys.node.public,), address, validator)
    return render_card(found, pair.secret)


def _write(path: Path, raw: bytes, what: str) -> None:
    try:
        write_durably(path, raw)
    except OSError as error:
        raise OperatorError(
            "FILE_UNWRITABLE", f"the {what} {path} cannot be written", str(error), "choose another place"
        ) from error


def _summary(read: Read) -> dict[str, Any]:
    found = read.bundle
    return {
        "chain": read.genesis.name,
        "chain_id": found.chain_id.hex(),
        "signed_by": read.founder,
        "signer_key": read.signer.hex(),
        "protocol": [found.protocol_min, found.protocol_max],
        "height": found.height,
        "block_hash": found.block_hash.hex(),
        "faults": found.faults,
        "peers": [
            {"name": item.name, "key": item.node_key.hex(), "address": item.address, "validator": item.validator}
            for item in found.peers
        ],
    }


def _words(read: Read) -> str:
    who = read.founder or "nobody who founded the chain: ask a member whose key this is"
    lines: dict[str, object] = {
        "chain": read.genesis.name,
        "chain id": read.bundle.chain_id.hex(),
        "signed by": f"{who} ({read.signer.hex()[:16]}…)",
        "head": read.bundle.height,
        "validators' nodes": f"{sum(item.validator for item in read.bundle.peers)}; {read.bundle.faults} may lie",
    }
    rows = [(item.name, item.node_key.hex()[:16], item.address) for item in read.bundle.peers]
    return f"{listing(lines)}\n\n{table(('peer', 'node key', 'address'), rows)}"


# ---- status ----------------------------------------------------------------------------------------------------------


@join.command()
@node_option
@click.option("--watch", is_flag=True, help="Until the node is in sync; a progress bar on a terminal.")
@output_option
def status(node: str, watch: bool) -> int:
    """How far this node is: applied, admitted, fetching, in sync. Exit code 5 while it is not in sync."""
    code: int = ask(node, _watch if watch else _once)
    return code


async def _once(client: NodeClient) -> int:
    found = await _far(client)
    console().result(found, listing(found))
    return Exit.OK.value if found["stage"] == "in sync" else Exit.NOT_READY.value


async def _watch(client: NodeClient) -> int:
    """Redraw one bar on a terminal; elsewhere a line for each change of stage."""
    said = ""
    bar = Progress(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"), console=_ERR)
    task: TaskID = bar.add_task("joining", total=100.0, rate="")
    with bar:
        while True:
            found = await _far(client)
            if found["stage"] == "in sync":
                break
            percent = float(found.get("percent") or 0.0)
            bar.update(task, description=found["stage"], completed=percent, rate=_rate(found))
            if found["stage"] != said and not _ERR.is_terminal:
                console().note(f"{found['stage']} {_rate(found)}".strip())
            said = found["stage"]
            await asyncio.sleep(WATCH_SECONDS)
    return await _once(client)


_ERR: Final = RichConsole(stderr=True)


def _rate(found: dict[str, Any]) -> str:
    if "approvals" in found:
        return f"{found['approvals']} of {found['needed']} approvals"
    if not found.get("percent"):
        return ""
    eta = found.get("eta_seconds")
    left = "" if eta is None else f", {eta:.0f} s left"
    return f"{found['percent']:.1f} %, {found['per_second']:.0f}/s{left}"


async def _far(client: NodeClient) -> dict[str, Any]:
    """The stage of joining and what is known of it."""
    try:
        told = await client.get("/v1/status")
    except OperatorError as error:
        if error.code != "NOT_REACHABLE":
            raise
        return {"stage": "not running, or being started anew"}
    snapshot, application = told.get("snapshot"), told.get("application")
    base = {"height": told["height"], "best_height": told["best_height"], "role": told["role"]}
    if snapshot is not None:
        return {"stage": snapshot["phase"], **base, **snapshot}
    if application is not None:
        return {
            "stage": f"application {application['state']}",
            **base,
            "proposal": application["proposal"],
            "approvals": application["in_favour"],
            "needed": application["needed"],
            "due_ms": application["due_ms"],
        }
    if not told["peers_connected"]:
        peers = (await client.get("/v1/peers"))["peers"]
        why = sorted({peer["last_error"]["code"] for peer in peers if peer["last_error"] is not None})
        stage = "not proposed yet" if why == ["UNKNOWN_PEER"] else "no peers"
        return {"stage": stage, **base, "why": ", ".join(why) or None}
    if told["syncing"] or not told["informed"]:
        return {"stage": "fetching blocks", **base, "eta_seconds": told["eta_seconds"]}
    return {"stage": "in sync", **base}
