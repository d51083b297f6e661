"""Repair by pull: what we lack is asked for, one peer a period; what Status says others lack is sent (CONSENSUS §2).

Requests go out once for each RESEND period and turn to the next holder each time. A peer gets at most
``REPAIRS_MAX`` repairs a period from us, so nobody multiplies traffic through us.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from .effects import FetchBody, Send
from .messages import (
    CommitCertificate,
    GetBlock,
    GetBodies,
    GetCertificate,
    GetPrepares,
    Message,
    SignedCommit,
    SignedPrepare,
    SignedRoundChange,
    Status,
)
from .own import prepared_change
from .propose import changes_of
from .quorum import faults, quorum
from .state import Core

REPAIRS_MAX: Final = 64


def fetch_wanted(core: Core) -> None:
    """Ask for every block, body, prepare and certificate that the next step waits for."""
    for hash, holders in list(_wanted_blocks(core)):
        _fetch_block(core, hash, holders)
    if core.open.round > 0:
        for round, hash, holders in list(_wanted_prepares(core)):
            _ask(core, ("prepares", hash), holders, GetPrepares(core.open.context.height, round, hash))
    _fetch_certificate(core)


def status_of(core: Core) -> Status:
    """What we have at the open height."""
    height = core.open
    context, tally = height.context, height.tally
    indexes = range(len(context.validators))
    changes = tuple(tally.changes[i].message.round if i in tally.changes else -1 for i in indexes)
    return Status(
        context.height,
        height.round,
        context.parent_hash,
        max(height.accepted, default=-1),
        tuple(tally.newest(SignedPrepare, i) for i in indexes),
        tuple(tally.newest(SignedCommit, i) for i in indexes),
        changes,
    )


def send_what_lacks(core: Core, peer: bytes, status: Status) -> None:
    """Our own newest signed messages of the open height that ``status`` lacks."""
    height = core.open
    index, n = height.context.index, len(height.context.validators)
    if index is None or not len(status.prepares) == len(status.commits) == len(status.round_changes) == n:
        return
    proposal = height.own.proposal
    if proposal is not None and status.proposal_round < proposal.message.round:
        answer(core, peer, proposal)
    for kind, held in (
        (SignedPrepare, status.prepares[index]),
        (SignedCommit, status.commits[index]),
        (SignedRoundChange, status.round_changes[index]),
    ):
        newest = height.own.newest(kind)
        if newest is None or newest.message.round <= held:
            continue
        answer(core, peer, prepared_change(core, newest) if isinstance(newest, SignedRoundChange) else newest)


def answer(core: Core, peer: bytes, message: Message) -> None:
    """Send a repair, unless this peer had its share of this period."""
    answered = core.open.answered
    if answered.get(peer, 0) < REPAIRS_MAX:
        answered[peer] = answered.get(peer, 0) + 1
        core.emit(Send(peer, message))


def parent_certificate(core: Core) -> CommitCertificate:
    """The newest decision we may tell: its batch is synced, or this height would not be open."""
    return CommitCertificate(core.open.context.parent_certificate)


def _wanted_blocks(core: Core) -> Iterator[tuple[bytes, list[int]]]:
    height = core.open
    tally, context = height.tally, height.context
    for _, hash in tally.commits.quorums():
        if _lacks(core, hash):
            yield hash, sorted(tally.commits.holders(hash))
    accepted = height.accepted.get(height.round)
    if accepted is not None and _lacks(core, accepted.hash):
        voters = sorted(tally.prepares.holders(accepted.hash))
        yield accepted.hash, [context.proposer(accepted.round), *voters]
    if core.record.lock is not None and core.may_sign and _lacks(core, core.record.lock.hash):
        yield core.record.lock.hash, sorted(tally.prepares.holders(core.record.lock.hash))
    if height.round > 0 and context.proposer(height.round) == context.index:
        for change in changes_of(core):
            round, hash = change.message.prepared_round, change.message.prepared_hash
            if round >= 0 and len(tally.prepares.of(round, hash)) >= quorum(len(context.validators)):
                yield hash, [change.index, *sorted(tally.prepares.holders(hash))]


def _lacks(core: Core, hash: bytes) -> bool:
    candidate = core.open.candidates.get(hash)
    return candidate is None or not candidate.complete


def _wanted_prepares(core: Core) -> Iterator[tuple[int, bytes, list[int]]]:
    height = core.open
    context, tally = height.context, height.tally
    if context.proposer(height.round) != context.index:
        return
    everybody = list(range(len(context.validators)))
    for change in changes_of(core):
        round, hash = change.message.prepared_round, change.message.prepared_hash
        if round >= 0 and len(tally.prepares.of(round, hash)) < quorum(len(context.validators)):
            yield round, hash, [change.index, *everybody]


def _fetch_block(core: Core, hash: bytes, holders: list[int]) -> None:
    height = core.open
    candidate = height.candidates.get(hash)
    number = height.context.height
    if candidate is None:
        _ask(core, ("block", hash), holders, GetBlock(number, hash))
    elif not candidate.complete:
        if not candidate.fetch_asked:
            candidate.fetch_asked = True
            core.emit(FetchBody(number, hash, candidate.ids))
        elif candidate.fetch_answered:
            _ask(core, ("bodies", hash), holders, GetBodies(number, hash, candidate.missing_bitmap()))


def _fetch_certificate(core: Core) -> None:
    """f + 1 peers speak of the next height: ours is decided, and one of them at least is honest."""
    context = core.open.context
    if core.early.peers > faults(len(context.validators)):
        _ask(core, ("certificate", b""), range(len(context.validators)), GetCertificate(context.height))


def _ask(core: Core, what: tuple[str, bytes], holders: Iterable[int], message: Message) -> None:
    height = core.open
    others = [index for index in dict.fromkeys(holders) if index != height.context.index]
    if what in height.asked or not others:
        return
    height.asked.add(what)
    attempt = height.attempts.get(what, 0)
    height.attempts[what] = attempt + 1
    core.emit(Send(others[attempt % len(others)], message))
