"""The genesis of a home and its founders' signatures, read from the disk (DESIGN §2).

A node starts only with a genesis that *all* founders signed: the file alone could name keys and plans to which nobody
agreed. The signatures lie beside the genesis file, in ``genesis.sigs``, one ``name hex`` a line.
"""

from pathlib import Path

from ledger.errors import OperatorError
from ledger.genesis import SIGNATURES_FILE, Genesis, check_genesis_signatures, parse_genesis


def read_genesis(path: Path) -> Genesis:
    """The genesis in ``path``. Raises ``OperatorError`` GENESIS_UNREADABLE or GENESIS_INVALID."""
    try:
        return parse_genesis(path.read_bytes())
    except OSError as error:
        raise OperatorError(
            "GENESIS_UNREADABLE",
            f"the genesis file {path} cannot be read",
            str(error),
            "check the path, or bring the file into the home with `huzhu init --genesis FILE`",
        ) from error


def signatures_path(genesis_path: Path) -> Path:
    """Where the signatures of this genesis file lie."""
    return genesis_path.with_name(SIGNATURES_FILE)


def read_signatures(genesis_path: Path) -> str:
    """The text of ``genesis.sigs``; empty when there is none. Raises ``OperatorError`` GENESIS_UNREADABLE."""
    path = signatures_path(genesis_path)
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(
            "GENESIS_UNREADABLE", f"the founders' signatures {path} cannot be read", str(error), "check the file"
        ) from error


def read_signed_genesis(path: Path) -> Genesis:
    """The genesis in ``path``, signed by every founder.

    Raises ``OperatorError`` GENESIS_UNREADABLE, GENESIS_INVALID, GENESIS_SIGNATURE_INVALID, GENESIS_UNSIGNED.
    """
    genesis = read_genesis(path)
    missing = check_genesis_signatures(genesis, read_signatures(path))
    if missing:
        raise OperatorError(
            "GENESIS_UNSIGNED",
            f"{path} is not signed by {', '.join(missing)}",
            f"every founder's line must stand in {signatures_path(path)}",
            "`huzhu genesis sign` on their machines, then put the lines together in that file",
        )
    return genesis
