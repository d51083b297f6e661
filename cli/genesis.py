"""``huzhu genesis``: what a genesis file says, and who of the founders has signed it."""

from pathlib import Path

import click

from ledger.errors import OperatorError
from ledger.genesis import Genesis, check_genesis_signatures, parse_genesis
from ledger.roles import Role

from .output import console, listing, output_option

SIGNATURES_FILE = "genesis.sigs"


def read_genesis(path: Path) -> Genesis:
    """The genesis in ``path``. Raises ``OperatorError`` GENESIS_UNREADABLE or GENESIS_INVALID."""
    try:
        return parse_genesis(path.read_bytes())
    except OSError as error:
        raise OperatorError(
            "GENESIS_UNREADABLE", f"the genesis file {path} cannot be read", str(error), "check the path"
        ) from error


@click.group()
def genesis() -> None:
    """Look at a genesis file."""


@genesis.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@output_option
def check(file: Path) -> None:
    """Parse FILE, name its chain, its organisations, and the founders whose signatures are missing."""
    found = read_genesis(file)
    beside = file.with_name(SIGNATURES_FILE)
    missing = check_genesis_signatures(found, beside.read_text()) if beside.exists() else None
    organisations = [
        {
            "name": org.name,
            "roles": [role.name for role in Role if role in org.roles],
            "validator": org.validator is not None,
        }
        for org in found.organisations
    ]
    data = {
        "chain_id": found.chain_id.hex(),
        "name": found.name,
        "clock": "stepped" if found.stepped else "real",
        "organisations": organisations,
        "plans": [plan.name for plan in found.plans],
        "unsigned": missing,
    }
    lines: dict[str, object] = {
        "chain": found.name,
        "chain id": data["chain_id"],
        "clock": data["clock"],
        "plans": ", ".join(plan.name for plan in found.plans),
        "unsigned": "no genesis.sigs beside it" if missing is None else ", ".join(missing) or "nobody",
    }
    for org in organisations:
        lines[str(org["name"])] = f"{org['roles']}{' validator' if org['validator'] else ''}"
    console().result(data, listing(lines))
