"""When the disk is full: signing stops cleanly, storing stops, and both go on when there is room again (NODE §2).

Rules of this file

* Each reason holds the driver for itself: nothing is signed before the last of them is gone.
* A signing log that met a full disk tries again; a database that did is opened anew, with the whole node.
* Every change is told to the log once.
"""

from collections.abc import Callable
from typing import Final

from consensus.log import Position
from ledger.errors import OperatorError
from p2p.clock import Clock

from .disk import DiskGuard
from .driver import Driver
from .logs import Log
from .opening import Disk

LOG_FULL: Final = "the disk is full: the signing log waits for room"
DATABASE_FULL: Final = "the disk is full: the database waits for room"
LOG_RETRY_S: Final = 1.0
"""How often a signing log that met a full disk tries again."""


class Shortage:
    """See the head of this file."""

    def __init__(
        self,
        *,
        disk: Disk,
        guard: DiskGuard,
        driver: Driver,
        clock: Clock,
        log: Log,
        reopen: Callable[[], None],
        synced: Callable[[float], None],
    ) -> None:
        """``reopen`` starts the node anew; ``synced`` is told the seconds of each fsync of the signing log."""
        self._disk = disk
        self._guard = guard
        self._driver = driver
        self._clock = clock
        self._log = log
        self._reopen = reopen
        self._synced = synced
        self._log_full = False
        if not guard.has_room:
            driver.hold()

    def durable(self, position: Position) -> None:
        """The signing log is on the disk up to ``position``."""
        log = self._disk.vote_log
        if log is not None:
            self._synced(log.sync_s)
        self._driver.durable(position)
        if self._log_full:
            self._log_full = False
            self._log.info("signing resumes", why="the signing log has room again")
            self._driver.release(LOG_FULL)

    def log_stalled(self, error: OperatorError) -> None:
        """The signing log could not be written. Raises ``error`` when that is final."""
        log = self._disk.vote_log
        if error.code != "DISK_FULL" or log is None:
            raise error
        if not self._log_full:
            self._log_full = True
            self._log.error("signing stopped", why=error.what, next=error.next)
            self._driver.hold(LOG_FULL)
        self._clock.call_later(LOG_RETRY_S, log.retry)

    def database_full(self, error: OperatorError) -> None:
        """A batch has found the disk full."""
        self._guard.refused(self._disk.store.reopening_bytes())
        self._log.error("storing stopped", why=error.what, next="free some space", shortage=self._guard.shortage)
        self._driver.hold(DATABASE_FULL)

    def room_changed(self, has_room: bool) -> None:
        """The free disk has passed the floor, downwards or upwards."""
        if has_room and self._disk.full:
            self._log.info("storing resumes: the node starts anew", free_bytes=self._guard.free_bytes)
            self._reopen()
        elif has_room:
            self._log.info("signing resumes", free_bytes=self._guard.free_bytes)
            self._driver.release()
        else:
            self._log.error("signing stopped", why="little free disk", free_bytes=self._guard.free_bytes)
            self._driver.hold()
