"""``huzhu init``: keys, configuration and signing record of a node. Running it again changes nothing."""

from pathlib import Path

import click

from node.config import parse_overrides
from node.founding import read_genesis, read_signatures
from node.passphrase import new_passphrase

from .home import make_home
from .output import console, output_option, table

home_option = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    envvar="HUZHU_HOME",
    help="The node's directory; also HUZHU_HOME.",
)


encrypt_option = click.option(
    "--encrypt", is_flag=True, help="Encrypt new key files with a passphrase (asked, or HUZHU_PASSPHRASE_FILE)."
)
set_option = click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set a configuration key.")


def setting(text: str) -> tuple[str, str]:
    """Key and value of one ``--set``."""
    key, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--set")
    return key, value


@click.command()
@home_option
@click.option("--name", default="", help="A name for logs and status.")
@click.option("--genesis", type=click.Path(path_type=Path, dir_okay=False), help="The chain's genesis file to copy.")
@set_option
@click.option("--observer", is_flag=True, help="A node without a vote: it gets a node key only.")
@encrypt_option
@output_option
def init(home: Path, name: str, genesis: Path | None, settings: tuple[str, ...], observer: bool, encrypt: bool) -> None:
    """Make a node's home; what is there already is kept, a key is never overwritten."""
    raw = None if genesis is None else read_genesis(genesis).raw
    signatures = "" if genesis is None else read_signatures(genesis)
    values = parse_overrides(dict(setting(text) for text in settings))
    if name:
        values["node.name"] = name
    passphrase = new_passphrase(f"the keys in {home}") if encrypt else None
    made = make_home(home, genesis=raw, signatures=signatures, observer=observer, values=values, passphrase=passphrase)
    paths = [{"what": item.what, "path": str(item.path), "state": item.state} for item in made]
    text = table(("what", "state", "path"), [(item.what, item.state, item.path) for item in made])
    has_genesis = any(item.what in ("genesis", "signing record") for item in made) or observer
    following = f"huzhu start --home {home}" if has_genesis else f"huzhu init --home {home} --genesis FILE"
    console().result({"home": str(home), "paths": paths, "next": following}, f"{text}\n\nnext: {following}")
