"""The console script as a user runs it: arguments in, exit code and output out."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cli.processes import command
from tests.running import Ended, ended

SECONDS: Final = 60.0


@dataclass(frozen=True)
class Ran:
    """What one command left behind."""

    arguments: tuple[str, ...]
    exit_code: Ended
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        found = json.loads(self.stdout)
        assert isinstance(found, dict)
        return found

    @property
    def error(self) -> dict[str, str]:
        """The error object; checks its shape."""
        found = self.json
        assert self.exit_code != 0, self
        assert set(found) == {"error"}, self
        assert set(found["error"]) == {"code", "what", "why", "next"}, self
        error: dict[str, str] = found["error"]
        return error


def huzhu(
    *arguments: str | Path,
    environ: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
    prefix: Sequence[str] = (),
) -> Ran:
    """Run one command to its end; ``prefix`` stands before it, for another mount namespace."""
    texts = tuple(map(str, arguments))
    done = subprocess.run(
        [*prefix, *command(), *texts],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=seconds,
        env={**os.environ, **(environ or {})},
        check=False,
    )
    return Ran(texts, ended(texts, done.returncode), done.stdout.decode(), done.stderr.decode())


def in_json(*arguments: str | Path, **options: Any) -> Ran:
    """The same with ``--output json``."""
    return huzhu(*arguments, "--output", "json", **options)
