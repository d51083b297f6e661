"""As many open files as the node may need: LevelDB reads through them, and must never find that strangers hold all."""

import resource
from typing import Final

from ledger.errors import OperatorError

from .config import Config
from .storage import FILES_MAX

OTHERS_MAX: Final = 512
"""Links and handshakes, verifier processes, the log, snapshots, what Python has open."""


def needed(config: Config) -> int:
    """The most files that are ever open at once."""
    return FILES_MAX + config.api.connections_max + OTHERS_MAX


def check_file_limit(config: Config) -> None:
    """Raises ``OperatorError`` FILE_LIMIT when this process may not have so many."""
    wanted, (_, hard) = needed(config), resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise OperatorError(
            "FILE_LIMIT",
            f"{wanted} files may be open at once, and this process is allowed {hard}",
            f"the database has up to {FILES_MAX}, the API {config.api.connections_max} connections",
            "raise the limit (`ulimit -Hn`, LimitNOFILE= in the unit), or lower api.connections_max",
        )


def raise_file_limit(config: Config) -> None:
    """Make the soft limit what the node needs. Raises like ``check_file_limit``."""
    check_file_limit(config)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed(config):
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed(config), hard))
