"""Between the nodes and the checks: passes everything on, and sets the marks that need no judgement."""

from collections.abc import Sequence

from consensus import effects as fx
from consensus import events as ev
from consensus.log import Decoded
from consensus.messages import GetBlock, GetBodies, GetCertificate, GetPrepares, Message, SignedProposal
from consensus.records import AdoptRecord, Record
from ledger.errors import OK, OperatorError
from ledger.rows import Claim

from .invariants import Checker
from .ledger import LedgerReplica
from .node import SimNode
from .replica import Sealed


class Watch:
    """The ``Watcher`` of a run."""

    def __init__(self, checker: Checker) -> None:
        self.checker = checker
        self.marks = checker.marks
        self._rounds: dict[int, tuple[int, int]] = {}
        """Height and round of each node after its last step."""
        self._proposed: dict[int, tuple[int, int, int]] = {}
        """Life, height and round of each node's last proposal."""

    def signed(self, node: SimNode, request: fx.SignRequest) -> None:
        """See ``Checker.signed``."""
        if len(node.keys) > 1 and request.key == node.keys[1]:
            self.marks.hit("key_rotated")
        if node.joined:
            self.marks.hit("newcomer_signed")
        self.checker.signed(node, request)

    def sending(self, node: SimNode, message: Message) -> None:
        """See ``Checker.sending``."""
        if isinstance(message, SignedProposal) and message.message.height == node.core.height:
            self._mark_proposal(node, message)
        name = _ASKED.get(type(message))
        if name is not None:
            self.marks.hit(name)
        self.checker.sending(node, message)

    def _mark_proposal(self, node: SimNode, message: SignedProposal) -> None:
        told = (node.life, message.message.height, message.message.round)
        if self._proposed.get(node.number) == told:
            self.marks.hit("resent")
        self._proposed[node.number] = told

    def received(self, node: SimNode, sender: int, message: Message) -> None:
        """See ``Checker.received``."""
        self.checker.received(node, sender, message)

    def stepped(self, node: SimNode, event: ev.Event) -> None:
        """See ``Checker.stepped``."""
        if isinstance(event, ev.BlockChecked) and event.verdict is ev.Verdict.STALE:
            self.marks.hit("stale")
        elif isinstance(event, ev.HeadRefuted):
            self.marks.hit("head_refuted")
        if len(node.core.state.early):
            self.marks.hit("early_kept")
        if isinstance(event, ev.HeightStarted):
            self._enter_height(node)
        elif node.core.round > self._rounds.get(node.number, (0, 0))[1] + 1:
            self.marks.hit("joined")
        self._rounds[node.number] = (node.core.height, node.core.round)
        self.checker.stepped(node, event)

    def effect(self, node: SimNode, effect: fx.Effect) -> None:
        """See ``Checker.effect``."""
        if isinstance(effect, fx.Persist):
            self._mark_adoption(effect)
        self.checker.effect(node, effect)

    def _enter_height(self, node: SimNode) -> None:
        """What the log holds of the height that opens."""
        record = node.core.state.record
        if record.round >= 0 and record.height == node.core.height:
            self.marks.hit("resumed")
        self._rounds[node.number] = (node.core.height, node.core.round)

    def _mark_adoption(self, effect: fx.Persist) -> None:
        for record in effect.records:
            if isinstance(record, AdoptRecord):
                if record.votes:
                    self.marks.hit("adopted_votes")
                if record.lock is not None:
                    self.marks.hit("adopted_lock")

    def committed(self, node: SimNode, sealed: Sealed) -> None:
        """See ``Checker.committed``."""
        view = node.replica.view
        lock = node.core.state.record.lock
        if lock is not None and lock.height == sealed.height and lock.hash != sealed.hash:
            self.marks.hit("lock_dropped_out")
        if node.core.height == sealed.height and node.core.state.open.decided is None:
            self.marks.hit("synced_blocks")
        if not sealed.transactions:
            self.marks.hit("certifying")
        if len(view.eligible) < len(view.next_validators):
            self.marks.hit("skipped")
        if sealed.header.validators_hash != sealed.header.next_validators_hash:
            self.marks.hit("set_changed")
        if isinstance(node.replica, LedgerReplica):
            self._mark_ledger(node.replica, sealed)
        self.checker.committed(node, sealed)

    def _mark_ledger(self, replica: LedgerReplica, sealed: Sealed) -> None:
        if sealed.transactions:
            self.marks.hit("real_ledger")
        if any(receipt.code != OK for receipt in replica.receipts):
            self.marks.hit("real_receipt_failed")
        if replica.cash_fen:
            self.marks.hit("money_moved")
        if replica.state.length(Claim):
            self.marks.hit("claim_filed")

    def opened(self, node: SimNode, decoded: Decoded, written: Sequence[Record]) -> None:
        """See ``Checker.opened``."""
        self.checker.opened(node, decoded, written)

    def happened(self, mark: str) -> None:
        """A rare path was reached (``simulator.marks``)."""
        self.marks.hit(mark)

    def contradicts_itself(self, node: SimNode, error: OperatorError) -> bool:
        """Whether this node may learn that its key said something else: a twin's does, or one rolled back."""
        twin_or_old = not node.honest or self.checker.tainted.get(node.seat, 0) >= node.core.height
        excused = error.code == "KEY_IN_USE" and twin_or_old
        if excused:
            self.marks.hit("key_in_use")
        return excused

    def lost(self, node: SimNode) -> None:
        """See ``Checker.lost``."""
        self.checker.lost(node)


_ASKED = {
    GetBlock: "block_fetched",
    GetBodies: "body_fetched",
    GetPrepares: "prepares_fetched",
    GetCertificate: "certificate_fetched",
}
