"""Between gossip and mempool: what peers push is checked and admitted, what was admitted here is handed on (NODE §1).

Rules of this file

* A transaction a client gave us is pushed to all; one that a peer pushed is announced after it was admitted.
* Who announced what is counted for validators only, by their position in the present set (CONSENSUS §2, the due rule).
* A peer that pushes what no honest node would have admitted is penalized; a refusal for lack of room says nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ledger.errors import OK, PeerError
from p2p.gossip import TransactionGossip
from p2p.network import Network

from .admission import Admission, Outcome, Source
from .chain import Chain
from .mempool import Mempool
from .roster import Roster
from .steps import Steps

NEVER_HONEST: Final = frozenset({"MALFORMED", "TOO_LARGE", "WRONG_VERSION", "BAD_SIGNATURE"})
"""An honest node checks these before it pushes."""
FOR_GOOD: Final = NEVER_HONEST | {"EXPIRED", "DUPLICATE"}


class PeerPool:
    """``p2p.gossip.Pool`` over mempool and admission."""

    def __init__(
        self,
        *,
        mempool: Mempool,
        chain: Chain,
        network: Network,
        roster: Callable[[], Roster],
        own_index: Callable[[], int | None],
        entered: Callable[[], None],
        steps: Steps | None = None,
    ) -> None:
        """``entered()`` is told that transactions wait."""
        self._mempool = mempool
        self._chain = chain
        self._network = network
        self._roster = roster
        self._own_index = own_index
        self._entered = entered
        self._gossiping = (steps if steps is not None else Steps()).of("gossip")
        self._admission: Admission | None = None
        self._gossip: TransactionGossip | None = None

    def connect(self, admission: Admission, gossip: TransactionGossip) -> None:
        """Both need this object first."""
        self._admission, self._gossip = admission, gossip

    # ---- what gossip asks ----

    def lookup(self, transaction_id: bytes) -> bytes | None:
        """The bytes of a pending transaction."""
        return self._mempool.raw(transaction_id)

    def is_known(self, transaction_id: bytes) -> bool:
        """Whether it waits, was committed, or has expired here."""
        return (
            transaction_id in self._mempool or self._mempool.expired(transaction_id) or self._chain.seen(transaction_id)
        )

    def pending_ids(self) -> Iterable[bytes]:
        """Everything that waits."""
        return self._mempool.ids()

    def deliver(self, peer: bytes, transactions: Sequence[bytes]) -> None:
        """``peer`` sent these: check them when there is time. A full inbox drops them; they will be announced again."""
        if self._admission is not None:
            self._admission.offer(transactions, Source.PEER, lambda outcomes: self._checked(peer, outcomes))

    def received(self, peer: bytes, payload: bytes) -> None:
        """A message of the transactions class. Raises ``PeerError``."""
        if self._gossip is not None:
            with self._gossiping:
                self._announced(peer, self._gossip.on_message(peer, payload))

    # ---- what admission says ----

    def entered(self, ids: list[bytes], source: Source) -> None:
        """These wait now (``node.admission.HandOff``)."""
        with self._gossiping:
            self._announce_own(ids)
            if source is Source.CLIENT and self._gossip is not None:
                entries = map(self._mempool.get, ids)
                self._gossip.submit([(entry.id, entry.raw) for entry in entries if entry is not None])
        self._entered()

    def validators_changed(self) -> None:
        """Positions mean somebody else now. The others push again what waits within seconds; we count at once."""
        self._mempool.forget_announcements()
        self._announce_own(self._mempool.ids())

    def _announce_own(self, ids: Sequence[bytes]) -> None:
        own = self._own_index()
        if own is not None:
            self._mempool.announce(own, ids)

    def _checked(self, peer: bytes, outcomes: list[Outcome]) -> None:
        with self._gossiping:
            here = [outcome.id for outcome in outcomes if outcome.code == OK]
            refused = [outcome for outcome in outcomes if outcome.code in FOR_GOOD]
            self._announced(peer, here)
            if self._gossip is not None:
                fresh = [outcome.id for outcome in outcomes if outcome.fresh]
                if fresh:
                    self._gossip.admitted(peer, fresh)
                if refused:
                    self._gossip.refused([outcome.id for outcome in refused])
        for outcome in refused:
            if outcome.code in NEVER_HONEST:
                self._network.penalize(peer, PeerError("BAD_TRANSACTION", f"{outcome.code} {outcome.detail}"))
                return

    def _announced(self, peer: bytes, ids: Sequence[bytes]) -> None:
        index = self._roster().index_of(peer)
        if index is not None and ids:
            self._mempool.announce(index, ids)
