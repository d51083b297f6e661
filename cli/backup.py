"""``huzhu backup`` and ``huzhu restore``: the database of one moment, with or without a running node (NODE §3)."""

import time
from pathlib import Path
from typing import Any, Final

import click

from ledger.errors import OperatorError
from node.api.answers import plain
from node.backup import back_up, read_manifest
from node.backup import restore as put_back
from node.config import CONFIG_FILE, load
from node.copying import Progress

from .admin import ask_node, node_runs
from .home import write_durably
from .init import home_option
from .output import console, listing, output_option
from .stopped import stopped_database

LINE_SECONDS: Final = 5.0
_RECORDS: Final = {
    "kept": "the signing record of this home stays",
    "lost": "there was no signing record: one marked lost was begun, the node asks the others before it signs",
    "none": "no validator key here, so no signing record",
}


@click.command()
@click.argument("target", type=click.Path(path_type=Path, file_okay=False))
@home_option
@output_option
def backup(target: Path, home: Path) -> None:
    """Write genesis, configuration and database of HOME to the new directory TARGET; the node may run.

    Keys and signing record are not in it: back the keys up once, elsewhere; the record only moves with `keys export`.
    """
    config, target = load(home), target.absolute()
    if node_runs(config):
        tell = _lines()
        done = ask_node(
            config, "POST", "/backup", {"target": str(target)}, lambda found: tell(found["keys"], found["bytes"])
        )
    else:
        with stopped_database(config) as (source, _):
            done = plain(back_up(config, source, target, progress=_lines()))
    data = {"backup": str(target), **done}
    console().result(data, listing(data))


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False, exists=True))
@home_option
@output_option
def restore(directory: Path, home: Path) -> None:
    """Put the backup in DIRECTORY into HOME, whose node is stopped and has no database.

    Configuration and genesis of HOME stay; where there are none, those of the backup are put there.
    """
    home = home.expanduser().absolute()
    read_manifest(directory)
    if not (home / CONFIG_FILE).exists():
        _configuration(directory, home)
    done = put_back(load(home), directory, progress=_lines())
    data: dict[str, Any] = {"home": str(home), "record": done.record, **plain(done.manifest)}
    following = f"huzhu start --home {home}"
    text = f"{listing(data)}\n\n{_RECORDS[done.record]}\nnext: {following}"
    console().result(data | {"next": following}, text)


def _configuration(directory: Path, home: Path) -> None:
    try:
        raw = (directory / CONFIG_FILE).read_bytes()
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(home / CONFIG_FILE, raw)
    except OSError as error:
        raise OperatorError(
            "HOME_UNWRITABLE", f"the home {home} cannot be made", str(error), "choose another --home"
        ) from error


def _lines() -> Progress:
    """A line with rate every few seconds, on stderr."""
    begun = said = time.monotonic()

    def tell(keys: int, size: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= LINE_SECONDS:
            said = now
            console().note(f"{keys:,} keys, {size / 1e6:,.0f} MB, {size / 1e6 / (now - begun):,.1f} MB/s")

    return tell
