"""The one door of the agreement: ``Consensus.step(event) -> list[Effect]`` (CONSENSUS §1).

No clock, socket, disk, randomness or key. Two instances given the same records and events return the same effects. The
idea of one door in, one list out, is etcd raft's ``Step``/``Ready`` and malachite's effects.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from . import messages as wire
from .effects import Effect
from .events import (
    BlockBuilt,
    BlockChecked,
    BlockDue,
    BodyAvailable,
    Event,
    HeadRefuted,
    HeightStarted,
    PeerUp,
    Persisted,
    Received,
    Signed,
    Timeout,
)
from .handle import (
    answers,
    block_built,
    block_checked,
    block_due,
    body_available,
    head_refuted,
    height_started,
    last_seen,
    other_epoch,
    peer_up,
    persisted,
    proposal,
    signed,
    timeout,
    vote,
)
from .progress import progress
from .records import Record
from .scheme import ED25519, Scheme
from .state import Core

_EVENTS: Final[dict[type[Event], Callable[[Core, Any], None]]] = {
    HeightStarted: height_started.handle,
    Timeout: timeout.handle,
    BlockDue: block_due.handle,
    BlockBuilt: block_built.handle,
    BodyAvailable: body_available.handle,
    BlockChecked: block_checked.handle,
    Persisted: persisted.handle,
    Signed: signed.handle,
    PeerUp: peer_up.handle,
    HeadRefuted: head_refuted.handle,
}
_MESSAGES: Final[dict[type[wire.Message], Callable[[Core, bytes, int | None, Any], None]]] = {
    wire.SignedProposal: proposal.handle,
    wire.SignedPrepare: vote.handle,
    wire.SignedCommit: vote.handle,
    wire.SignedRoundChange: vote.handle,
    wire.PreparedRoundChange: vote.handle_prepared,
    wire.CommitCertificate: answers.on_certificate,
    wire.Status: answers.on_status,
    wire.LastSeenQuestion: last_seen.on_question,
    wire.LastSeenAnswer: last_seen.on_answer,
    wire.GetBlock: answers.on_get_block,
    wire.Block: answers.on_block,
    wire.GetBodies: answers.on_get_bodies,
    wire.Bodies: answers.on_bodies,
    wire.GetPrepares: answers.on_get_prepares,
    wire.Prepares: answers.on_prepares,
    wire.GetCertificate: answers.on_get_certificate,
}


class Consensus:
    """The agreement of one node, over all heights of one process.

    ``records`` is the whole log as read at the start (empty for an observer). ``step`` raises ``InvariantViolation``
    only, which ends the process; a peer's fault is the effect ``Blame``.
    """

    def __init__(self, records: Iterable[Record], scheme: Scheme = ED25519) -> None:
        self._core = Core(scheme, records)

    def step(self, event: Event) -> list[Effect]:
        """Take one event in; return what is to be done, in order."""
        core = self._core
        if not core.started and not isinstance(event, HeightStarted):
            return []  # a message before the first height: nothing can be said yet, and peers ask again
        self._handle(event)
        if isinstance(event, HeightStarted):
            early = list(core.early.all())
            core.early.clear()
            for peer, index, message in early:
                self._handle(Received(peer, index, message, core.open.context.epoch))
        progress(core)
        effects, core.effects = core.effects, []
        return effects

    @property
    def height(self) -> int:
        """The open height; 0 before the first ``HeightStarted``."""
        return self._core.open.context.height if self._core.started else 0

    @property
    def round(self) -> int:
        """Our current round at the open height."""
        return self._core.open.round if self._core.started else 0

    @property
    def signing(self) -> bool:
        """Whether we are in V(height), LastSeen is satisfied, and the height is undecided."""
        return self._core.started and self._core.may_sign

    @property
    def state(self) -> Core:
        """The state, for checkers and status pages: to be read only."""
        return self._core

    def _handle(self, event: Event) -> None:
        if isinstance(event, Received):
            if event.epoch != self._core.open.context.epoch:
                other_epoch.handle(self._core, event)
                return
            handler = _MESSAGES[type(event.message)]
            handler(self._core, event.peer, event.index, event.message)
        else:
            _EVENTS[type(event)](self._core, event)
