"""Inputs: requests and answers of the repair (CONSENSUS §2). What was not asked for is not wanted."""

from ledger.blocks import header_hash
from ledger.votes import Commit

from ..admit import admit_commits, admit_prepares, blame
from ..candidates import Candidate
from ..effects import Behind
from ..messages import (
    Block,
    Bodies,
    CommitCertificate,
    GetBlock,
    GetBodies,
    GetCertificate,
    GetPrepares,
    Prepares,
    SignedCommit,
    Status,
)
from ..repair import answer, parent_certificate, send_what_lacks, status_of
from ..state import Core


def on_status(core: Core, peer: bytes, index: int | None, status: Status) -> None:
    """Send what the sender lacks of ours; if it is ahead, synchronise; if it is behind, show it the decision or how far
    we are.
    """
    height = core.open
    context = height.context
    if status.height == context.height:
        send_what_lacks(core, peer, status)
    elif status.height == context.height - 1:
        answer(core, peer, parent_certificate(core))
    elif status.height < context.height:
        answer(core, peer, status_of(core))
    elif not (height.decided is not None and status.height == context.height + 1):
        core.emit(Behind(peer, status.height - 1))


def on_certificate(core: Core, peer: bytes, index: int | None, message: CommitCertificate) -> None:
    """Count its seals as the Commits they are."""
    certificate = message.certificate
    if certificate.height != core.open.context.height:
        return
    commit = Commit(certificate.height, certificate.round, certificate.block_hash)
    admit_commits(core, peer, [SignedCommit(commit, seal.index, seal.signature) for seal in certificate.seals])


def on_get_block(core: Core, peer: bytes, index: int | None, request: GetBlock) -> None:
    """Serve the compact form of a block of the open height or the one before."""
    candidate = _served(core, request.hash)
    if candidate is not None:
        answer(core, peer, Block(request.height, candidate.block))


def on_block(core: Core, peer: bytes, index: int | None, message: Block) -> None:
    """Take a compact block we asked for."""
    height = core.open
    hash = header_hash(message.block.header)
    if message.height != height.context.height or ("block", hash) not in height.asked:
        return
    fault = height.candidates.add(message.block, core.record.locked_hash)
    if isinstance(fault, str):
        blame(core, peer, "block", fault)


def on_get_bodies(core: Core, peer: bytes, index: int | None, request: GetBodies) -> None:
    """Serve transactions of a block of the open height or the one before."""
    candidate = _served(core, request.hash)
    if candidate is not None and (found := candidate.wanted_of(request.missing)):
        answer(core, peer, Bodies(request.height, request.hash, found))


def on_bodies(core: Core, peer: bytes, index: int | None, message: Bodies) -> None:
    """Take transactions of a block that lacks them."""
    candidate = core.open.candidates.get(message.hash)
    if candidate is None or candidate.complete:
        return
    if candidate.take(message.transactions) < len(message.transactions):
        blame(core, peer, "bodies", "a transaction that is not of the block")


def on_get_prepares(core: Core, peer: bytes, index: int | None, request: GetPrepares) -> None:
    """Serve every Prepare held, our own of any round of the open height among them."""
    if request.height == core.open.context.height and (votes := core.prepares_of(request.round, request.hash)):
        answer(core, peer, Prepares(votes))


def on_prepares(core: Core, peer: bytes, index: int | None, message: Prepares) -> None:
    """Count them."""
    admit_prepares(core, peer, message.votes)


def on_get_certificate(core: Core, peer: bytes, index: int | None, request: GetCertificate) -> None:
    """Serve the newest decision."""
    if request.height == core.open.context.height - 1:
        answer(core, peer, parent_certificate(core))


def _served(core: Core, hash: bytes) -> Candidate | None:
    previous = core.previous
    if previous is not None and previous.hash == hash:
        return previous
    return core.open.candidates.get(hash)
