"""Evidence that waits for a block: kept on disk, told to the others, offered to the proposer (CONSENSUS §4).

Rules of this file

* Every piece is verified against V(h) before it is kept or passed on, whoever brings it; what is void or known already
  is dropped without blame, what proves nothing is a ``PeerError``.
* At most one piece a seat is kept, so nobody can fill this; a piece goes once a block has recorded its validator, or
  it is too old.
* A piece that is new here is told to all, and what waits is told to everybody whose link comes up. So all say that a
  block is due, and no node times out alone.
* The store's one writer writes; a piece that a crash lost before it was written is found again, or was told already.
"""

from collections.abc import Callable, Iterator
from typing import Final

from ledger.blocks import Evidence
from ledger.codec import decode_own, encode
from ledger.errors import PeerError
from ledger.evidence import check_item
from ledger.limits import EVIDENCE_ITEMS_MAX
from ledger.store import META, Batch, Reader, prefix_stop
from ledger.validity import HeightView

_PIECE: Final = META + b"evidence/"


class EvidencePool:
    """See the head of this file. One owner: the node."""

    def __init__(
        self,
        store: Reader,
        *,
        view: Callable[[], HeightView],
        write: Callable[[Batch], object],
        tell: Callable[[Evidence], object],
        added: Callable[[], object],
    ) -> None:
        """Takes up what the store holds. ``write`` begins to make a batch durable; ``tell`` sends a piece to all;
        ``added`` is called when something new waits."""
        self._view = view
        self._write = write
        self._tell = tell
        self._added = added
        self._waiting: dict[int, Evidence] = {}
        self.seen = 0
        """Pieces that were new here, since the start."""
        for key, raw in store.scan(_PIECE, prefix_stop(_PIECE)):
            self._waiting[int.from_bytes(key[len(_PIECE) :], "big")] = decode_own(Evidence, raw)

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Evidence]:
        return iter(list(self._waiting.values()))

    def add(self, evidence: Evidence) -> bool:
        """Keep a piece and tell it; whether it was new. Raises ``PeerError`` BAD_EVIDENCE when it proves nothing."""
        try:
            seat = self._check(evidence)
        except PeerError as error:
            if error.code == "BAD_EVIDENCE":
                raise
            return False
        if seat in self._waiting:
            return False
        self._waiting[seat] = evidence
        self.seen += 1
        self._write(Batch({_key(seat): encode(evidence)}))
        self._tell(evidence)
        self._added()
        return True

    def pick(self) -> tuple[Evidence, ...]:
        """What a fresh block on the present head may hold, by seat."""
        return tuple(self._waiting[seat] for seat in sorted(self._waiting))[:EVIDENCE_ITEMS_MAX]

    def committed(self) -> None:
        """A block was committed: forget what no later block may hold."""
        gone = [seat for seat, evidence in self._waiting.items() if not self._counts(evidence)]
        for seat in gone:
            del self._waiting[seat]
        if gone:
            self._write(Batch(dict.fromkeys(map(_key, gone))))

    def _counts(self, evidence: Evidence) -> bool:
        try:
            self._check(evidence)
        except PeerError:
            return False
        return True

    def _check(self, evidence: Evidence) -> int:
        view = self._view()
        return check_item(view.recent_sets, view.accused, view.chain_id, view.height + 1, evidence).seat


def _key(seat: int) -> bytes:
    return _PIECE + seat.to_bytes(8, "big")
