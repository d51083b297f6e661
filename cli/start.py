"""``huzhu start``: run the node of a home until it is told to stop."""

from pathlib import Path

import click

from node.config import Config, load
from node.founding import read_signed_genesis
from node.keys import load_node_keys
from node.lost_record import declare_lost

from .init import home_option, set_option, setting
from .output import Exit, console, listing, output_option


@click.command()
@home_option
@click.option("--check", is_flag=True, help="Only check that the node could start: configuration, genesis, keys.")
@click.option("--record-lost", is_flag=True, help="The signing record is gone for good: begin one marked as lost.")
@set_option
@output_option
def start(home: Path, check: bool, record_lost: bool, settings: tuple[str, ...]) -> int:
    """Run the node in HOME; SIGTERM or Ctrl-C ends it cleanly."""
    config = load(home, dict(setting(text) for text in settings))
    if record_lost:
        aside = declare_lost(config)
        kept = "there was none" if aside is None else f"the old one is kept at {aside}"
        click.echo(f"a signing record marked as lost was begun; {kept}", err=True)
    if check:
        _check(config)
        return Exit.OK.value
    from node.process import run

    return run(config)


def _check(config: Config) -> None:
    """Everything that can be wrong before a socket or the database is opened."""
    genesis = read_signed_genesis(config.genesis_path)
    keys = load_node_keys(config.keys_path, observer=not config.holds_validator_keys)
    seats = {entry.validator_key for entry in genesis.validators()}
    votes = keys.validator is not None and keys.validator.public in seats
    data = {
        "chain_id": genesis.chain_id.hex(),
        "node_key": keys.node.public.hex(),
        "validator": votes,
        "api": config.api.listen,
        "p2p": config.p2p.listen,
        "peers": len(config.peers),
    }
    console().result(data, listing({"ready to start": config.home, **data}))
