"""``huzhu keys``: the keys of a home or keystore, by kind. The secret halves are never printed."""

from pathlib import Path
from typing import Any

import click

from ledger.errors import OperatorError
from node.config import load
from node.keys import KeyKind, create_next_keys, generate, key_path, list_keys, protect_key, write_key
from node.moving import export_validator, import_validator, parcel_fields, request_move
from node.passphrase import FILE_VARIABLE, new_passphrase
from node.protection import METHOD
from node.rotation import finish as finish_rotation

from .init import encrypt_option, home_option
from .output import console, listing, output_option, table

KINDS = click.Choice([kind.value for kind in KeyKind])
directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("keys"),
    show_default=True,
    help="Directory of the key files.",
)


@click.group()
def keys() -> None:
    """The keys of a home: list, make, encrypt, move to another machine."""


@keys.command("list")
@directory_option
@output_option
def list_(directory: Path) -> None:
    """Every key file: kind and public half. Fails at the first that is not in order."""
    found = [
        {
            "name": path.stem,
            "kind": card.kind.value,
            "public": card.public.hex(),
            "protection": card.protection,
            "path": str(path),
        }
        for path, card in list_keys(directory)
    ]
    rows = [tuple(entry.values()) for entry in found]
    console().result({"keys": found}, table(("name", "kind", "public", "protection", "path"), rows))


@keys.command("new")
@click.argument("kind", type=KINDS)
@click.option("--name", default=None, help="Name of the file; default: the kind.")
@directory_option
@encrypt_option
@output_option
def new(kind: str, name: str | None, directory: Path, encrypt: bool) -> None:
    """Make a key of KIND. An existing file is never overwritten."""
    pair = generate(KeyKind(kind))
    path = key_path(directory, pair.kind, name)
    write_key(path, pair, new_passphrase(str(path)) if encrypt else None)
    data = {"name": path.stem, "kind": kind, "public": pair.public.hex(), "path": str(path)}
    console().result(data, f"{kind} key {pair.public.hex()}\nwritten to {path}; keep a copy elsewhere")


@keys.command("protect")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--remove", is_flag=True, help="Store the secrets in the clear again.")
@click.option(
    "--new-passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The new passphrase; without it, it is asked for.",
)
@output_option
def protect(files: tuple[Path, ...], remove: bool, new_passphrase_file: Path | None) -> None:
    """Encrypt key FILES with a passphrase, change it, or take it off. The keys stay the same keys.

    The bytes of the old file may stay on the disk until they are overwritten: encrypt before a key is in use.
    """
    wanted = "the key files"
    if remove:
        passphrase = None
    elif new_passphrase_file is None:
        passphrase = new_passphrase(wanted, {})
    else:
        passphrase = new_passphrase(wanted, {FILE_VARIABLE: str(new_passphrase_file)})
    done = [(path, protect_key(path, passphrase)) for path in files]
    protection = "none" if remove else METHOD
    data = [{"path": str(path), "public": pair.public.hex(), "protection": protection} for path, pair in done]
    console().result({"keys": data}, table(("path", "public", "protection"), [tuple(item.values()) for item in data]))


@keys.command("rotate")
@click.option("--finish", is_flag=True, help="The chain names the new keys: put them in the place of the old ones.")
@home_option
@encrypt_option
@output_option
def rotate(finish: bool, home: Path, encrypt: bool) -> None:
    """Make the validator and beacon keys that are to replace those of HOME; the signing record goes on.

    Restart the node, so that it holds both; propose the new ones; two blocks after the decision they sign. With
    --finish, on a stopped node, the old ones are set aside.
    """
    config = load(home)
    if finish:
        data: dict[str, Any] = {"retired": [str(path) for path in finish_rotation(config)]}
        console().result(data, listing(data))
        return
    passphrase = new_passphrase("the new keys") if encrypt else None
    cards = create_next_keys(config.keys_path, passphrase)
    data = {f"{kind.value}_key": card.public.hex() for kind, card in cards.items()}
    validator, beacon = (cards[kind].public.hex() for kind in (KeyKind.VALIDATOR, KeyKind.BEACON))
    action = f'["rotate_validator", SEAT, "0x{validator}", "0x{beacon}"]'
    data["next"] = f"restart the node, then propose these keys for its seat: huzhu gov propose '{action}'"
    console().result(data, listing(data))


@keys.command("export")
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--to",
    "request",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    required=True,
    help="What `huzhu keys import --request` wrote on the new machine.",
)
@home_option
@output_option
def export(target: Path, request: Path, home: Path) -> None:
    """Move the validator of HOME away: its keys and signing record go to TARGET, sealed to the machine that asked.

    HOME never signs again. Stop its node first.
    """
    aside = export_validator(load(home), _read(request), target)
    data = {"written": str(target), "retired_record": str(aside), "next": f"huzhu keys import {target.name} --home NEW"}
    console().result(data, listing(data))


@keys.command("import")
@click.argument("parcel", required=False, type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--request", type=click.Path(path_type=Path, dir_okay=False), help="First: write the request here.")
@home_option
@encrypt_option
@output_option
def import_(parcel: Path | None, request: Path | None, home: Path, encrypt: bool) -> None:
    """Receive a validator from another machine into HOME: first with --request, then with the PARCEL that it sealed.

    A parcel opens once, and only in the home that asked for it.
    """
    if (parcel is None) == (request is None):
        raise click.UsageError("either --request FILE, or the PARCEL that the other machine sealed to it")
    if request is not None:
        raw = request_move(home)
        try:
            request.write_bytes(raw)
        except OSError as error:
            raise OperatorError(
                "MOVE_UNWRITABLE", f"{request} cannot be written", str(error), "name another"
            ) from error
        data = {"request": str(request), "next": f"huzhu keys export FILE --to {request.name} --home OLD"}
        console().result(data, listing(data))
    elif parcel is not None:
        passphrase = new_passphrase(f"the keys in {home}") if encrypt else None
        data = parcel_fields(import_validator(home, _read(parcel), passphrase))
        data["next"] = f"set p2p.listen and p2p.peers in the configuration, then huzhu start --home {home}"
        console().result(data, listing(data))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OperatorError("MOVE_MALFORMED", f"{path} cannot be read", str(error), "check the file") from error
