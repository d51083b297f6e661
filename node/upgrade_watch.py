"""Upgrades of the protocol, told when they are decided; the end before a block that this program does not speak."""

from collections.abc import Callable

from ledger.errors import OperatorError
from ledger.rows import Upgrade

from .chain import Chain
from .logs import Log


class UpgradeWatch:
    """``look`` at the start and after each block, when everybody else has been told of it."""

    def __init__(self, chain: Chain, log: Log, end: Callable[[Exception], None]) -> None:
        """``end`` ends the node with the error."""
        self._chain = chain
        self._log = log
        self._end = end
        self._told: Upgrade | None = None
        """The newest that was told to the log."""

    def look(self) -> None:
        """Tell of an upgrade when it is decided; end before a block that we do not speak."""
        ahead, chain = self._chain.view.upgrade, self._chain
        if ahead != self._told and ahead is not None and ahead.height > chain.height:
            self._log.info("protocol upgrade decided", version=ahead.version, from_height=ahead.height)
            if chain.upgrade_needed is not None:
                self._log.warning("protocol upgrade needed", why=chain.upgrade_needed)
        self._told = ahead
        try:
            chain.check_spoken()
        except OperatorError as error:
            self._log.error("stopping before the upgrade", why=f"{error.what}: {error.why}", next=error.next)
            self._end(error)
