"""``huzhu config migrate``: a configuration file of an earlier version, or an earlier release, as this one writes it.

Rules of this file

* A step leads from one version to the next and changes the table of a file: keys renamed, units changed, sections
  moved. Steps are run in order and never change once they are released. Version 1 is the first: ``STEPS`` begins when
  there is a version 2, with that version's entry in the table of ``node.config``.
* The result is checked like every configuration before anything is written. The old file stays beside the new one.
* The new file is this release's: every key with its sentence and default, what was chosen set. Comments of the old
  file's own are in the old file.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ledger.errors import OperatorError

from . import config as configuration
from .config import CONFIG_FILE, checked_values, read_table, render_default, version_of
from .private_file import replace_durably

Step = Callable[[dict[str, Any]], dict[str, Any]]
"""From a file's table, without its version, to the next version's."""

STEPS: Final[Mapping[int, Step]] = MappingProxyType({})
"""By the version that a step leads from."""


def migrate(home: Path, steps: Mapping[int, Step] = STEPS) -> tuple[int, Path | None]:
    """Write the configuration of ``home`` anew; the version that it had, and where the old file is now.

    ``None``: it was as this release writes it, and nothing was written. Raises ``OperatorError`` MISSING_CONFIG,
    BAD_CONFIG, CONFIG_KEPT (there is an old file already), CONFIG_UNWRITABLE.
    """
    path = home.expanduser().absolute() / CONFIG_FILE
    table = read_table(path)
    version = version_of(path, table)
    old = path.with_name(f"{CONFIG_FILE}.{version}.old")
    values = {name: value for name, value in table.items() if name != "config_version"}
    for step in range(version, configuration.CONFIG_VERSION):
        values = steps[step](values)
    text = render_default(checked_values(path, values))
    raw = path.read_bytes()
    if text.encode() == raw:
        return version, None
    if old.exists():
        raise OperatorError("CONFIG_KEPT", f"{old} exists", "an earlier file was set aside there", "move it away")
    try:
        replace_durably(old, raw.decode())
        replace_durably(path, text)
    except OSError as error:
        raise OperatorError(
            "CONFIG_UNWRITABLE", f"{path} cannot be written", str(error), "check the owner and the disk of the home"
        ) from error
    return version, old
