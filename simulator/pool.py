"""What waits at one simulated node for a block, how it spreads, and when a block is due (CONSENSUS §2, NODE §2).

The mempool is the node's own; gossip is the plain rule (push what is new to all, announce what came from another).
"""

from typing import TYPE_CHECKING, Final

from consensus import events as ev
from ledger.errors import TransactionRejected
from ledger.transactions import decode_transaction, transaction_id
from ledger.votes import quorum
from node.mempool import Limits, Mempool, SignerClass

if TYPE_CHECKING:
    from .node import SimNode

PUSH_AGAIN_MS: Final = 1_500


class Pool:
    """Of one life of a node; owns the mempool and what the core was told of the open height."""

    def __init__(self, node: "SimNode") -> None:
        self._node = node
        self.mempool = Mempool(Limits(transactions_max=256, bytes_max=1_000_000), lambda _key: SignerClass.ORGANISATION)
        self._said: set[ev.DueReason] = set()
        self._due_mark = 0
        self._pushed_ms = 0

    # ---- when a block is due ----

    def height_opened(self) -> None:
        """A height opens: what makes its block due is said anew."""
        self._said.clear()
        if len(self.mempool):
            self._say(ev.DueReason.PENDING)
        self._watch()

    def _watch(self) -> None:
        self._due_mark += 1
        mark = self._due_mark
        view = self._node.replica.view
        now_ms = self._node.clock_ms
        wait_ms = view.header.time_ms + view.params.heartbeat_ms - now_ms
        if view.next_due_ms is not None:
            wait_ms = min(wait_ms, view.next_due_ms - view.ledger_time(now_ms))
        if wait_ms <= 0:
            self._say(ev.DueReason.HEARTBEAT)
            wait_ms = view.params.heartbeat_ms
        if len(self.mempool):
            self._watch_old(view.params.announce_bound_ms, len(view.next_validators))
            wait_ms = min(wait_ms, view.params.announce_bound_ms)

        def again() -> None:
            if self._due_mark == mark:
                self._watch()

        self._node.later(max(1, wait_ms), again)

    def _watch_old(self, bound_ms: int, n: int) -> None:
        now_ms = self._node.world.now_ms
        if self.mempool.oldest_due(bound_ms, quorum(n), now_ms) is not None:
            self._say(ev.DueReason.ANNOUNCED)
        if now_ms - self._pushed_ms >= PUSH_AGAIN_MS:
            self._pushed_ms = now_ms
            for tx_id in self.mempool.older_than(PUSH_AGAIN_MS, now_ms, 16):
                raw = self.mempool.raw(tx_id)
                if raw is not None:
                    self._gossip(raw)

    def _say(self, reason: ev.DueReason) -> None:
        if reason not in self._said:
            self._said.add(reason)
            self._node.feed(ev.BlockDue(self._node.height + 1, reason))

    # ---- transactions ----

    def submit(self, raw: bytes) -> None:
        """A client sends a transaction."""
        if self._node.alive and self.admit(raw):
            self._gossip(raw)

    def _gossip(self, raw: bytes) -> None:
        for other in self._node.peers.nodes:
            if other is not self._node:
                self._node.reach(other, lambda node: node.pool.take(self._node, raw))

    def take(self, sender: "SimNode", raw: bytes) -> None:
        """A pushed transaction off a link."""
        fresh = self.admit(raw)
        tx_id = transaction_id(raw)
        self.announced(sender, tx_id)
        if fresh:
            for other in self._node.peers.nodes:
                if other is not self._node:
                    self._node.reach(other, lambda node: node.pool.announced(self._node, tx_id))

    def announced(self, sender: "SimNode", tx_id: bytes) -> None:
        """``sender`` says that it has a transaction."""
        index = self._node.index_of(sender)
        if index is not None:
            self.mempool.announce(index, [tx_id])

    def admit(self, raw: bytes) -> bool:
        """Take a transaction in, if it may still be in a block; whether it is new here."""
        tx_id = transaction_id(raw)
        transaction = decode_transaction(raw)
        if self._node.replica.seen(tx_id) or transaction.valid_until_ms < self._node.replica.view.header.time_ms:
            return False
        if not self._node.replica.authentic(raw, transaction):
            self._node.peers.watcher.happened("unsigned_refused")
            return False
        try:
            self.mempool.add(tx_id, raw, transaction, self._node.world.now_ms)
        except TransactionRejected:
            return False
        self.announced(self._node, tx_id)
        self._say(ev.DueReason.PENDING)
        if len(self.mempool) == 1:
            self._watch()
        return True
