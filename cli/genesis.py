"""``huzhu genesis``: several organisations found a chain; no private key ever leaves its machine (NODE §3).

Each founder writes a *card* (``card``), one of them puts the cards together (``assemble``), each looks at the file
that came out (``check``) and signs its chain id (``sign``). The signatures' lines are put together in ``genesis.sigs``
beside the file; a node starts only when every founder's is there.
"""

import time
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import click

from ledger.cards import parse_card, render_card
from ledger.errors import OperatorError
from ledger.genesis import (
    CLOCK_REAL,
    Genesis,
    GenesisOrganisation,
    GenesisPlan,
    GenesisValidator,
    GenesisValues,
    check_genesis_signatures,
    parse_chain_params,
    parse_genesis,
    parse_plan,
    render_genesis,
    sign_genesis,
)
from ledger.roles import Role
from ledger.votes import faults, quorum
from node.config import Config, load, split_address
from node.founding import read_genesis, read_signatures, signatures_path
from node.keys import KeyKind, KeyPair, generate, key_path, load_node_keys, read_key, write_key

from .home import CREATED, KEPT, merge_signatures, write_durably
from .init import home_option
from .output import console, listing, output_option, rmb, table

DEFAULT_PLAN: Final = "plan_main.toml"
DEFAULT_CHAIN: Final = "chain_main.toml"
ROLES: Final = tuple(str(role.name).lower() for role in Role)

file_argument = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
key_option = click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The organisation's key file.  [default: organisation.key among the home's keys]",
)


@click.group()
def genesis() -> None:
    """Found a chain with several organisations: card, assemble, check, sign."""


# ---- card ------------------------------------------------------------------------------------------------------------


@genesis.command()
@home_option
@click.option("--name", default="", help="The organisation's name.  [default: node.name of the configuration]")
@click.option("--roles", required=True, metavar="ROLE,ROLE", help=f"What it does: {', '.join(ROLES)}.")
@click.option("--address", default="", metavar="HOST:PORT", help="Where others reach its node; required with a node.")
@click.option("--no-node", is_flag=True, help="The organisation signs transactions only and runs no node.")
@key_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The card to write.")
@output_option
def card(home: Path, name: str, roles: str, address: str, no_node: bool, key_file: Path | None, out: Path) -> None:
    """Write this organisation's card: its public keys, roles and address, signed with the organisation's key.

    The organisation's key is made when HOME has none yet; keep a copy of it elsewhere.
    """
    config = load(home)
    path = key_file or key_path(config.keys_path, KeyKind.ORGANISATION)
    made = key_file is None and not path.exists()
    if made:
        write_key(path, generate(KeyKind.ORGANISATION))
    pair = read_key(path, KeyKind.ORGANISATION)
    if not no_node and not _dialable(address):
        raise OperatorError(
            "USAGE",
            f"{address!r} is no address that others can dial",
            "the other founders' nodes find this one by it",
            "--address host:port, or --no-node",
            exit_code=2,
        )
    organisation = _organisation(config, name or config.node.name, parse_roles(roles), pair, address, no_node)
    raw = render_card(organisation, pair.secret)
    _write_once(out, raw, "card")
    data = {
        "name": organisation.name,
        "roles": _role_names(organisation.roles),
        "validator": organisation.validator is not None,
        "organisation_key": pair.public.hex(),
        "key_file": str(path),
        "key_state": CREATED if made else KEPT,
        "card": str(out),
    }
    console().result(data, f"{listing(data)}\n\nnext: give {out} to whoever runs `huzhu genesis assemble`")


def _dialable(address: str) -> bool:
    try:
        return split_address(address)[1] > 0
    except ValueError:
        return False


def parse_roles(text: str) -> Role:
    """The roles of ``platform,bank``. Raises ``click.BadParameter``."""
    found = Role(0)
    for word in filter(None, (part.strip().upper() for part in text.split(","))):
        if word not in Role.__members__:
            raise click.BadParameter(f"{word.lower()!r} is no role; there are {', '.join(ROLES)}", param_hint="--roles")
        found |= Role[word]
    return found


def _organisation(
    config: Config, name: str, roles: Role, pair: KeyPair, address: str, no_node: bool
) -> GenesisOrganisation:
    if no_node:
        return GenesisOrganisation(name, roles, pair.public)
    keys = load_node_keys(config.keys_path, observer=config.node.observer)
    validator = None
    if keys.validator is not None and keys.beacon is not None:
        validator = GenesisValidator(keys.validator.public, keys.beacon.public)
    return GenesisOrganisation(name, roles, pair.public, (keys.node.public,), address, validator)


# ---- assemble --------------------------------------------------------------------------------------------------------


@genesis.command()
@click.argument("cards", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="CARD...")
@click.option("--name", required=True, help="The chain's name.")
@click.option(
    "--plan",
    "plans",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="A plan's file, once for each plan.  [default: the main plan that comes with the program]",
)
@click.option(
    "--chain",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The consensus parameters' file.  [default: those that come with the program]",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("genesis.toml"), show_default=True)
@output_option
def assemble(cards: tuple[Path, ...], name: str, plans: tuple[Path, ...], chain: Path | None, out: Path) -> None:
    """Put the founders' cards together; each card's signature is checked. Seats follow the order of the cards."""
    time_ms = time.time_ns() // 1_000_000
    values = GenesisValues(
        name=name,
        time_ms=time_ms,
        clock=CLOCK_REAL,
        clock_key=b"",
        clock_start_ms=time_ms,
        params=parse_chain_params(_text(chain, DEFAULT_CHAIN)),
        organisations=tuple(_read_card(path) for path in cards),
        plans=tuple(_plan(path) for path in plans or (None,)),
    )
    raw = render_genesis(values).encode()
    _write_once(out, raw, "genesis file")
    found = parse_genesis(raw)
    data = _summary(found) | {"genesis": str(out), "unsigned": check_genesis_signatures(found, "")}
    console().result(
        data, f"{_report(found)}\n\nnext: every founder: huzhu genesis check {out}; huzhu genesis sign {out}"
    )


def _read_card(path: Path) -> GenesisOrganisation:
    try:
        return parse_card(path.read_bytes())
    except OSError as error:
        raise OperatorError(
            "CARD_UNREADABLE", f"the card {path} cannot be read", str(error), "check the path"
        ) from error
    except OperatorError as error:
        raise OperatorError(error.code, f"{path}: {error.what}", error.why, error.next) from error


def _plan(path: Path | None) -> GenesisPlan:
    return parse_plan(_text(path, DEFAULT_PLAN))


def _text(path: Path | None, default: str) -> str:
    """A file of parameters: the operator's, or the one that comes with the program."""
    if path is None:
        return files("configs").joinpath(default).read_text("utf-8")
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError("FILE_UNREADABLE", f"{path} cannot be read", str(error), "check the path") from error


def _write_once(path: Path, raw: bytes, what: str) -> None:
    """Write a file that is not there yet; the same bytes again are fine."""
    try:
        if path.exists() and path.read_bytes() != raw:
            raise OperatorError(
                "FILE_EXISTS", f"there is another {what} at {path}", "", "choose another --out, or remove it first"
            )
        write_durably(path, raw)
    except OSError as error:
        raise OperatorError(
            "FILE_UNWRITABLE", f"{path} cannot be written", str(error), "choose another --out"
        ) from error


# ---- check -----------------------------------------------------------------------------------------------------------


@genesis.command()
@file_argument
@output_option
def check(file: Path) -> None:
    """Say in plain words what FILE founds: which chain, who with which roles and seats, which plans, who has signed."""
    found = read_genesis(file)
    missing = check_genesis_signatures(found, read_signatures(file))
    unsigned = ", ".join(missing) or "nobody"
    console().result(_summary(found) | {"unsigned": missing}, f"{_report(found)}\n\nhas not signed: {unsigned}")


def _summary(found: Genesis) -> dict[str, Any]:
    """What a genesis founds, for programs."""
    seats = found.validators()
    seat_of = {entry.organisation: entry.seat for entry in seats}
    return {
        "chain_id": found.chain_id.hex(),
        "name": found.name,
        "clock": "stepped" if found.stepped else "real",
        "seats": len(seats),
        "quorum": quorum(len(seats)),
        "faults": faults(len(seats)),
        "organisations": [
            {
                "name": org.name,
                "roles": _role_names(org.roles),
                "validator": org.validator is not None,
                "seat": seat_of.get(at),
                "key": org.key.hex(),
                "node_keys": [key.hex() for key in org.node_keys],
                "address": org.address,
            }
            for at, org in enumerate(found.organisations)
        ],
        "plans": [plan.name for plan in found.plans],
    }


def _report(found: Genesis) -> str:
    """What a genesis founds, for people."""
    data = _summary(found)
    seats = f"{data['seats']}; {data['quorum']} decide a block, {data['faults']} may fail or lie"
    head = {"chain": data["name"], "chain id": data["chain_id"], "clock": data["clock"], "seats": seats}
    rows = [
        (org["name"], ", ".join(org["roles"]).lower(), _shown_seat(org), org["address"] or "-", org["key"][:16])
        for org in data["organisations"]
    ]
    organisations = table(("organisation", "roles", "seat", "address", "key begins"), rows)
    return "\n\n".join([listing(head), organisations, *(_plan_words(plan) for plan in found.plans)])


def _shown_seat(org: dict[str, Any]) -> str:
    return "-" if org["seat"] is None else str(org["seat"])


def _plan_words(plan: GenesisPlan) -> str:
    """A plan's main parameters in plain words."""
    params = plan.params
    aids = "; ".join(f"tier {band.tier} from age {band.age_from}: {rmb(band.aid_fen)} RMB" for band in params.tiers)
    lines: dict[str, object] = {
        "aid": aids,
        "fee": f"{params.fee_bps / 100:g} % of the aid, to the platform",
        "who may join": f"from {params.joining_age_days_min} days to {params.joining_age_years_max} years of age",
        "waiting time": f"{params.waiting_days} days, accidents are covered at once",
        "a member gives at most": f"{rmb(params.case_cap_fen)} RMB a case, {rmb(params.year_cap_fen)} RMB a year",
        "objections": f"{params.notice_days} days after the notice",
        "to pay": f"{params.pay_days} days after the settlement; {params.lapse_fails} failures in a row end membership",
    }
    return f"plan {plan.name}\n{listing({f'  {name}': value for name, value in lines.items()})}"


def _role_names(roles: Role) -> list[str]:
    return [str(role.name) for role in Role if role in roles]


# ---- sign ------------------------------------------------------------------------------------------------------------


@genesis.command()
@file_argument
@home_option
@key_option
@output_option
def sign(file: Path, home: Path, key_file: Path | None) -> None:
    """Add this founder's line to genesis.sigs beside FILE. Refused when FILE names other keys than HOME holds."""
    config, found = load(home), read_genesis(file)
    pair = read_key(key_file or key_path(config.keys_path, KeyKind.ORGANISATION), KeyKind.ORGANISATION)
    own = next((org for org in found.organisations if org.key == pair.public), None)
    if own is None:
        raise OperatorError(
            "NOT_A_FOUNDER",
            f"no organisation of {file} has the key {pair.public.hex()[:16]}…",
            "",
            "is this the right file, and the right --key?",
        )
    _require_own_keys(config, own)
    present = read_signatures(file)
    signed_before = own.name not in check_genesis_signatures(found, present)
    line = sign_genesis(own.name, pair.secret, found.chain_id)
    path = signatures_path(file)
    merged = present if signed_before else merge_signatures(present, line)
    try:
        write_durably(path, merged.encode())
    except OSError as error:
        raise OperatorError(
            "FILE_UNWRITABLE", f"{path} cannot be written", str(error), "check its directory"
        ) from error
    missing = check_genesis_signatures(found, merged)
    data = {
        "name": own.name,
        "chain_id": found.chain_id.hex(),
        "line": line.strip(),
        "signatures": str(path),
        "state": KEPT if signed_before else CREATED,
        "unsigned": missing,
    }
    following = f"huzhu init --home {home} --genesis {file}" if not missing else f"give {path} to the other founders"
    console().result(data, f"{listing({'signed by': own.name, 'chain id': data['chain_id'], 'in': path})}\n{following}")


def _require_own_keys(config: Config, own: GenesisOrganisation) -> None:
    """The genesis names this home's keys: signing another's would found a chain on which this node can do nothing."""
    if not own.node_keys:
        return
    keys = load_node_keys(config.keys_path, observer=own.validator is None)
    held = None
    if own.validator is not None and keys.validator is not None and keys.beacon is not None:
        held = GenesisValidator(keys.validator.public, keys.beacon.public)
    if keys.node.public not in own.node_keys or held != own.validator:
        raise OperatorError(
            "GENESIS_NOT_OURS",
            f"the genesis names other keys for {own.name} than lie in {config.keys_path}",
            "a node with these keys would not be the one that was founded",
            "write a new card, and let the genesis be assembled again",
        )
