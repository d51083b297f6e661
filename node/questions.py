"""Every question of the sync class and who answers it: blocks, snapshots, and what becomes of an application.

A link with an applicant is status-only: it may ask for its admission and for nothing else (NODE §1).
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from ledger.errors import PeerError

from .applicants import Applicants
from .snapshot_serve import SnapshotServer
from .snapshot_wire import (
    GetAdmission,
    GetHeaders,
    GetNodes,
    GetReceipts,
    GetRows,
    GetSnapshot,
    decode_any_question,
)
from .sync import Sync
from .wire import GetBlocks


class Questions:
    """See the head of this file."""

    def __init__(
        self, sync: Sync, snapshots: SnapshotServer, applicants: Applicants, status_only: Callable[[bytes], bool]
    ) -> None:
        self._applicants = applicants
        self._status_only = status_only
        self._answers: Final[dict[type[Any], Callable[[Any], Awaitable[bytes]]]] = {
            GetBlocks: sync.answer,
            GetSnapshot: snapshots.offer,
            GetNodes: snapshots.nodes,
            GetRows: snapshots.rows,
            GetHeaders: snapshots.headers,
            GetReceipts: snapshots.receipts,
        }

    async def answer(self, peer: bytes, payload: bytes) -> bytes:
        """The answer. Raises ``PeerError``, ``RequestRefused``."""
        question = decode_any_question(payload)
        if isinstance(question, GetAdmission):
            return self._applicants.answer(peer)
        if self._status_only(peer):
            raise PeerError("NOT_PERMITTED", "an applicant may ask for its admission only")
        return await self._answers[type(question)](question)
