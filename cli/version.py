"""What program this is: its version, the commit it was built from as far as that is known, the versions it speaks."""

import re
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Final

COMMIT_FILE: Final = "commit.txt"
"""Written by ``make dist`` into the package: there is no checkout to ask afterwards."""
UNKNOWN: Final = "unknown"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


def program_version() -> str:
    """Of the distribution."""
    try:
        return version("huzhu")
    except PackageNotFoundError:
        return "0, not installed"


def commit() -> str:
    """The commit: of the checkout that the program runs from, or else the one it was built from."""
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "pyproject.toml").is_file():
        found = checkout_commit(checkout / ".git")
    else:
        found = _text(Path(str(files("cli").joinpath(COMMIT_FILE))))
    return found if _COMMIT.fullmatch(found) else UNKNOWN


def checkout_commit(git: Path) -> str:
    """What HEAD of a git directory names; empty when that cannot be told."""
    head = _text(git / "HEAD")
    if not head.startswith("ref: "):
        return head
    name = head.removeprefix("ref: ")
    loose = _text(git / name)
    if loose:
        return loose
    packed = (line.split(" ", 1) for line in _text(git / "packed-refs").splitlines() if " " in line)
    return next((hash_ for hash_, ref in packed if ref == name), "")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        return ""


def versions() -> dict[str, object]:
    """Everything that decides whether two programs understand each other, or one the other's files."""
    from ledger.cards import CARD_VERSION
    from ledger.limits import TRANSACTION_VERSION
    from ledger.protocol import NEWEST, OLDEST
    from node.config import CONFIG_VERSION
    from node.storage import FORMAT_VERSION

    return {
        "huzhu": program_version(),
        "commit": commit(),
        "protocol": f"{OLDEST} to {NEWEST}",
        "transactions": TRANSACTION_VERSION,
        "database": FORMAT_VERSION,
        "configuration": CONFIG_VERSION,
        "cards": CARD_VERSION,
    }
