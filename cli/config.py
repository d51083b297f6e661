"""``huzhu config``: what a node's configuration says, where each value comes from, what differs; and its versions."""

from pathlib import Path
from typing import Any

import click

from node.config import CONFIG_VERSION, KEYS, Config, load_with_sources
from node.config_migration import migrate

from .init import home_option, set_option, setting
from .output import console, listing, output_option, table


@click.group()
def config() -> None:
    """The configuration of a node."""


def _load(home: Path, settings: tuple[str, ...]) -> tuple[Config, list[dict[str, Any]]]:
    """The configuration, and (key, value, default, source) of every key."""
    found, sources = load_with_sources(home, dict(setting(text) for text in settings))
    keys = []
    for name, info in KEYS.items():
        section, _, key = name.partition(".")
        value = getattr(getattr(found, section), key)
        keys.append({"key": name, "value": value, "default": info.default, "source": sources[name]})
    return found, keys


@config.command()
@home_option
@set_option
@output_option
def check(home: Path, settings: tuple[str, ...]) -> None:
    """Check the configuration in HOME with its environment; prints every path it leads to."""
    found, _ = _load(home, settings)
    paths = {
        "home": str(found.home),
        "genesis": str(found.genesis_path),
        "keys": str(found.keys_path),
        "data": str(found.data_path),
        "log": None if found.log_path is None else str(found.log_path),
    }
    console().result({"valid": True, **paths}, listing({"the configuration is valid": "", **paths}))


@config.command()
@home_option
@set_option
@output_option
def show(home: Path, settings: tuple[str, ...]) -> None:
    """Every key with its value and where that comes from: flag, environment, file or default."""
    _, keys = _load(home, settings)
    rows = [(entry["key"], _shown(entry["value"]), entry["source"]) for entry in keys]
    console().result({"keys": keys}, table(("key", "value", "from"), rows))


@config.command()
@home_option
@set_option
@output_option
def diff(home: Path, settings: tuple[str, ...]) -> None:
    """The keys whose values differ from the defaults."""
    _, keys = _load(home, settings)
    found = [entry for entry in keys if entry["value"] != entry["default"]]
    rows = [(item["key"], _shown(item["value"]), _shown(item["default"]), item["source"]) for item in found]
    console().result({"keys": found}, table(("key", "value", "default", "from"), rows))


@config.command("migrate")
@home_option
@output_option
def migrate_(home: Path) -> None:
    """Write the configuration file in HOME anew as this release does: its version, every key with its sentence.

    What was chosen stays; the old file stays beside it.
    """
    version, old = migrate(home)
    kept = None if old is None else str(old)
    data = {"from": version, "to": CONFIG_VERSION, "changed": old is not None, "kept": kept}
    text = "the file is this release's already" if old is None else f"written anew; the old file is {old}"
    console().result(data, text)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "-"
    return str(value).lower() if isinstance(value, bool) else str(value) if value != "" else '""'
