"""Where a passphrase comes from: a private file, the environment, or a person at a terminal, in this order.

Rules of this file

* A service has a file (``HUZHU_PASSPHRASE_FILE``; systemd's ``LoadCredential`` makes one). ``HUZHU_PASSPHRASE`` is for
  tests and scripts: an environment is easily seen by others of the same user.
* Asked at a terminal only when there is one, never in a service that nobody watches: there it is an ``OperatorError``.
* A file that others can read is refused, like a key's. One trailing line end is not part of the passphrase.
"""

import getpass
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ledger.errors import OperatorError

from .private_file import read_private
from .protection import PASSPHRASE_BYTES_MAX

FILE_VARIABLE: Final = "HUZHU_PASSPHRASE_FILE"
VARIABLE: Final = "HUZHU_PASSPHRASE"

Ask = Callable[[str], bytes]
"""From what it is wanted for, to the passphrase. Raises ``OperatorError`` PASSPHRASE_NEEDED, PASSPHRASE_UNUSABLE."""
Prompt = Callable[[str], str | None]
"""From the question to what was typed; ``None`` when nobody is there."""


def at_terminal(question: str) -> str | None:
    """Ask the person at the terminal without showing what is typed; ``None`` when nobody is there."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    return getpass.getpass(question, stream=sys.stderr)


def from_surroundings(
    wanted_for: str,
    environment: Mapping[str, str] = os.environ,
    prompt: Prompt = at_terminal,
) -> bytes:
    """The passphrase of this process. ``wanted_for`` says what it opens, such as a path."""
    file = environment.get(FILE_VARIABLE)
    if file is not None:
        return _checked(_of_file(Path(file)), f"the passphrase in {file}")
    text = environment.get(VARIABLE)
    if text is not None:
        return _checked(text, f"the passphrase in {VARIABLE}")
    typed = prompt(f"passphrase for {wanted_for}: ")
    if typed is None:
        raise OperatorError(
            "PASSPHRASE_NEEDED",
            f"{wanted_for} is encrypted and nobody is there to ask",
            "no terminal, and no passphrase in the environment",
            f"name a file only you can read: {FILE_VARIABLE}=/path/of/file",
        )
    return _checked(typed, "the passphrase")


def new_passphrase(
    wanted_for: str,
    environment: Mapping[str, str] = os.environ,
    prompt: Prompt = at_terminal,
) -> bytes:
    """The same for something that is to be encrypted: at a terminal it is asked for twice."""
    first = from_surroundings(f"{wanted_for} (new)", environment, prompt)
    if FILE_VARIABLE not in environment and VARIABLE not in environment and first != _again(prompt):
        raise OperatorError("PASSPHRASE_UNUSABLE", "the two passphrases differ", "", "try again", exit_code=2)
    return first


def _again(prompt: Prompt) -> bytes:
    return (prompt("once more: ") or "").encode()


def _of_file(path: Path) -> str:
    try:
        return read_private(path, "passphrase file").removesuffix("\n").removesuffix("\r")
    except OperatorError as error:
        raise OperatorError(
            "PASSPHRASE_UNUSABLE", f"the passphrase file {path} cannot be used", str(error), error.next
        ) from error


def _checked(text: str, what: str) -> bytes:
    raw = text.encode()
    if not 1 <= len(raw) <= PASSPHRASE_BYTES_MAX:
        raise OperatorError(
            "PASSPHRASE_UNUSABLE",
            f"{what} has {len(raw)} bytes",
            f"from 1 to {PASSPHRASE_BYTES_MAX} are allowed",
            "choose another",
        )
    return raw
