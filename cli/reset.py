"""``huzhu reset``: forget a stopped node's copy of the chain; keys, configuration and signing record stay (NODE §3)."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from ledger.errors import OperatorError
from node.config import CONFIG_FILE, Config, load
from node.opening import DATABASE_DIRECTORY
from node.votelog import LOG_FILE

from .init import home_option
from .output import console, output_option

REMOVED: Final = ".ledger.removed"


@click.command()
@home_option
@click.option("--yes", is_flag=True, help="Do it: the only copy of a chain may be here.")
@output_option
def reset(home: Path, yes: bool) -> None:
    """Remove the database of the stopped node in HOME. It fetches the chain again from its peers at the next start.

    The signing record stays, so a validator that was reset still contradicts nothing that it has signed.
    """
    config = load(home)
    database, removed = config.data_path / DATABASE_DIRECTORY, config.data_path / REMOVED
    if not yes:
        raise OperatorError(
            "NOT_CONFIRMED",
            f"{database} would be removed",
            "without peers that hold the chain it would be lost",
            "huzhu reset --yes",
            exit_code=2,
        )
    try:
        there = database.is_dir()
        if there:
            with _alone(config):
                shutil.rmtree(removed, ignore_errors=True)
                database.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)
    except OSError as error:
        raise OperatorError("RESET_FAILED", f"{database} cannot be removed", str(error), "check its owner") from error
    paths = (config.home / CONFIG_FILE, config.genesis_path, config.keys_path, config.data_path / LOG_FILE)
    kept = [str(path) for path in paths if path.exists()]
    text = f"removed {database}" if there else f"there was no database in {database}"
    data = {"removed": str(database) if there else None, "kept": kept}
    console().result(data, f"{text}; kept {', '.join(kept)}")


@contextmanager
def _alone(config: Config) -> Iterator[None]:
    """Hold LevelDB's own lock. Raises ``OperatorError`` LOCKED_DATABASE while a node holds it."""
    database = config.data_path / DATABASE_DIRECTORY
    with (database / "LOCK").open("ab") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OperatorError(
                "LOCKED_DATABASE", f"the database in {database} is in use", "", "stop the node first", exit_code=1
            ) from error
        yield
