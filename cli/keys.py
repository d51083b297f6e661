"""``huzhu keys``: the keys of a home or keystore, by kind. The secret halves are never printed."""

from pathlib import Path

import click

from node.keys import KeyKind, generate, key_path, list_keys, write_key

from .output import console, output_option, table

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
    """List the keys of a home, or make one."""


@keys.command("list")
@directory_option
@output_option
def list_(directory: Path) -> None:
    """Every key file: kind and public half. Fails at the first that is not in order."""
    found = [
        {"name": path.stem, "kind": pair.kind.value, "public": pair.public.hex(), "path": str(path)}
        for path, pair in list_keys(directory)
    ]
    rows = [(entry["name"], entry["kind"], entry["public"], entry["path"]) for entry in found]
    console().result({"keys": found}, table(("name", "kind", "public", "path"), rows))


@keys.command("new")
@click.argument("kind", type=KINDS)
@click.option("--name", default=None, help="Name of the file; default: the kind.")
@directory_option
@output_option
def new(kind: str, name: str | None, directory: Path) -> None:
    """Make a key of KIND. An existing file is never overwritten."""
    pair = generate(KeyKind(kind))
    path = key_path(directory, pair.kind, name)
    write_key(path, pair)
    data = {"name": path.stem, "kind": kind, "public": pair.public.hex(), "path": str(path)}
    console().result(data, f"{kind} key {pair.public.hex()}\nwritten to {path}; keep a copy elsewhere")
