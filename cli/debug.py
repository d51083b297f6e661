"""``huzhu debug dump``: everything a defect report needs in one archive, without secrets (NODE §3)."""

import io
import json
import os
import platform
import tarfile
from pathlib import Path
from typing import Any, Final

import click

from ledger.errors import OperatorError
from node.admin import settings
from node.config import Config, load
from node.doctor import examine

from .admin import ask_node, node_runs
from .init import home_option
from .output import console, listing, output_option
from .version import versions

LOG_BYTES_MAX: Final = 4 << 20
"""The end of the log file that goes into the archive."""


@click.group()
def debug() -> None:
    """For defect reports."""


@debug.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@home_option
@output_option
def dump(file: Path, home: Path) -> None:
    """Write versions, settings, findings, sizes, the log's end and, of a running node, its inside to FILE (tar.gz).

    Keys, passphrases and the signing record are never read for it, and members' data are not in it.
    """
    config = load(home)
    runs = node_runs(config)
    parts = {
        "versions.json": _json({**versions(), "python": platform.python_version(), "system": platform.platform()}),
        "configuration.json": _json(settings(config)),
        "files.json": _json(_files(config)),
        "findings.json": _json([_finding(item) for item in examine(config, with_indexes=False)]),
    }
    if runs:
        inside = ask_node(config, "GET", "/debug")
        parts["metrics.txt"] = str(inside.pop("metrics", "")).encode()
        parts["node.json"] = _json(inside)
    if config.log_path is not None and config.log_path.exists():
        parts["log.jsonl"] = _end_of(config.log_path)
    try:
        with tarfile.open(file, "x:gz") as archive:
            for name, content in parts.items():
                entry = tarfile.TarInfo(f"huzhu-debug/{name}")
                entry.size, entry.mode = len(content), 0o600
                archive.addfile(entry, io.BytesIO(content))
    except OSError as error:
        raise OperatorError(
            "DUMP_FAILED", f"{file} cannot be written", str(error), "name a new file in a directory of yours"
        ) from error
    data = {"written": str(file), "node_runs": runs, "parts": sorted(parts)}
    console().result(data, listing(data))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _finding(item: Any) -> dict[str, str]:
    return {"code": item.code, "severity": item.severity.value, "what": item.what, "why": item.why}


def _files(config: Config) -> dict[str, dict[str, int]]:
    """Sizes and modes of what is in the home; no content."""
    found = {}
    for directory, _, names in os.walk(config.home):
        for name in sorted(names):
            path = Path(directory) / name
            status = path.lstat()
            found[str(path.relative_to(config.home))] = {"bytes": status.st_size, "mode": status.st_mode & 0o7777}
    return found


def _end_of(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_BYTES_MAX))
        return file.read(LOG_BYTES_MAX)
