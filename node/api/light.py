"""Routes for those who verify alone: header chains with certificates, and what a proof file is made of (LEDGER §10).

Everything of one answer is read from one snapshot: the state that the newest header certifies. Headers are asked for
separately, in ranges, because a client that comes again has most of them. Work is cut into slices, so that a vote
never waits for a statement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from aiohttp import web

from ledger import bills
from ledger.blocks import Header
from ledger.codec import encode
from ledger.errors import InvariantViolation, ProofFailed, TransactionRejected
from ledger.light import inclusion_path
from ledger.proven import prove_rows
from ledger.recompute import NOTICED
from ledger.rows import Dispute, Draw, Member, Settlement
from ledger.statement import DrawProof, Inclusion, Parts, SettlementProof, Subject, jury_of, rows_needed, statement_of
from ledger.transactions import transaction_id

from ..blockstore import BlockReader
from . import asked
from .answers import bad_request, not_found
from .blocks import MSGPACK, body_transactions
from .proving import certified
from .view import NodeView, StateAt

T = TypeVar("T")

HEADERS_MAX: Final = 100_000
"""Most headers of one answer; ask for the next range."""
CHUNK_BYTES: Final = 65_536
PROOFS_A_SLICE: Final = 16
PLAN_MAX: Final = 2**32 - 1


class LightClients:
    """Routes on headers and proof files."""

    def __init__(self, view: NodeView) -> None:
        self._view = view

    async def headers(self, request: web.Request) -> web.StreamResponse:
        """Headers ?from= &to= (inclusive): MessagePack [header, certificate, validator set where it is a new one]s.

        The first header of an epoch has a fourth element: [recovery record, the set whose organisations signed it].
        """
        at = self._view.current
        first = asked.integer(request, "from", 1)
        last = asked.integer(request, "to", min(at.height, first + HEADERS_MAX - 1))
        if not first <= last <= at.height:
            raise bad_request(f"from {first} to {last}: at most up to the newest block, {at.height}")
        if last - first >= HEADERS_MAX:
            raise bad_request(f"at most {HEADERS_MAX} headers at once")
        if at.blocks.header_raw(first) is None:
            raise not_found(f"header {first} is not kept here any more")
        response = web.StreamResponse(headers={"Content-Type": MSGPACK})
        await response.prepare(request)
        buffer = bytearray()
        for record in header_records(at.blocks, first, last):
            buffer += record
            if len(buffer) >= CHUNK_BYTES:
                await response.write(bytes(buffer))
                buffer.clear()
                await asyncio.sleep(0)
        await response.write(bytes(buffer))
        await response.write_eof()
        return response

    async def statement(self, request: web.Request) -> web.StreamResponse:
        """The rows of a member's statement with their proofs, in MessagePack; `huzhu member statement` asks for it."""
        member_id = asked.path_id(request)
        at, _, _ = certified(self._view)
        if at.state.find(Member, member_id) is None:
            raise not_found(f"there is no member {member_id} in the state that block {at.height + 1} certifies")
        return await self._parts(at, _borne_out(lambda: statement_of(at.state.reader, member_id)))

    async def settlement(self, request: web.Request) -> web.StreamResponse:
        """The rows of a settled period, all its frozen cohorts included, with their proofs, in MessagePack."""
        plan, period = asked.path_id(request, "plan", PLAN_MAX), asked.path_id(request, "period", PLAN_MAX)
        at, _, _ = certified(self._view)
        row_id = bills.settlement_id(at.state, plan, period)
        if row_id is None:
            raise not_found(f"plan {plan} has not noticed period {period}")
        if at.state.get(Settlement, row_id).stage == NOTICED:
            raise TransactionRejected("NOT_PROVABLE_YET", f"period {period} is not settled")
        return await self._parts(at, SettlementProof(row_id))

    async def draw(self, request: web.Request) -> web.StreamResponse:
        """The row of a closed draw and those of the organisations with their proofs, in MessagePack."""
        draw_id = asked.path_id(request)
        at, _, _ = certified(self._view)
        row = at.state.find(Draw, draw_id)
        if row is None:
            raise not_found(f"there is no draw {draw_id} in the state that block {at.height + 1} certifies")
        if row.closed_height == 0:
            raise TransactionRejected("NOT_PROVABLE_YET", f"draw {draw_id} is open")
        return await self._parts(at, DrawProof(draw_id))

    async def jury(self, request: web.Request) -> web.StreamResponse:
        """The rows of a dispute whose jury was drawn, its draw and its opened ballots with proofs, in MessagePack."""
        dispute_id = asked.path_id(request)
        at, _, _ = certified(self._view)
        row = at.state.find(Dispute, dispute_id)
        if row is None:
            raise not_found(f"there is no dispute {dispute_id} in the state that block {at.height + 1} certifies")
        if not row.seed:
            raise TransactionRejected("NOT_PROVABLE_YET", f"no jury was drawn for dispute {dispute_id}")
        return await self._parts(at, jury_of(at.state.reader, dispute_id))

    async def transaction(self, request: web.Request) -> web.StreamResponse:
        """A committed transaction and its receipt with their paths to the roots of two headers, in MessagePack."""
        tx_id = asked.digest(request.match_info["id"], "the transaction id")
        blocks = self._view.current.blocks
        place = blocks.place_of(tx_id)
        body_raw = None if place is None else blocks.body_raw(place.height)
        if place is None or body_raw is None:
            raise not_found("no block here holds this transaction")
        if blocks.header_raw(place.height + 1) is None:
            raise TransactionRejected("NOT_PROVABLE_YET", f"block {place.height + 1} will certify its receipt")
        raws = body_transactions(body_raw)
        receipts = [encode(receipt) for receipt in blocks.receipts(place.height) or ()]
        ids = [transaction_id(raw) for raw in raws]
        at = len(receipts) - len(raws) + place.position
        subject = Inclusion(
            place.height,
            raws[place.position],
            inclusion_path(ids, place.position),
            receipts[at],
            inclusion_path(receipts, at),
        )
        return _answer(Parts(place.height + 1, (), subject))

    async def _parts(self, at: StateAt, subject: Subject) -> web.Response:
        """Prove what is needed, a slice at a time; ``at`` holds the snapshot meanwhile."""
        keys = _borne_out(lambda: rows_needed(at.state.reader, subject))
        rows: list[bytes] = []
        for raw in prove_rows(at.state.reader, keys):
            rows.append(raw)
            if len(rows) % PROOFS_A_SLICE == 0:
                await asyncio.sleep(0)
        return _answer(Parts(at.height + 1, tuple(rows), subject))


def _borne_out(check: Callable[[], T]) -> T:
    """What is to be proven is verified before: rows that contradict each other are said to, and stop no node."""
    try:
        return check()
    except ProofFailed as error:
        raise TransactionRejected("NOT_BORNE_OUT", str(error)) from error


def header_records(blocks: BlockReader, first: int, last: int) -> Iterator[bytes]:
    """The records of ``/v1/headers`` from block ``first`` to ``last``, both of which are here."""
    before, known = blocks.header(first - 1) if first else None, b""
    for height in range(first, last + 1):
        record, before = _record(blocks, height, known, before)
        known = before.validators_hash
        yield record


def _record(blocks: BlockReader, height: int, known: bytes, before: Header | None) -> tuple[bytes, Header]:
    """(MessagePack [header, certificate, validator set or nil, what began its epoch if it is the first], the header).

    ``known`` is the hash of the set that the client has, ``before`` the header below.
    """
    header, raw, certificate = blocks.header(height), blocks.header_raw(height), blocks.certificate_raw(height)
    if header is None or raw is None or certificate is None:
        raise InvariantViolation(f"block {height} below the newest has no header or no certificate")
    validators = None
    if header.validators_hash != known:
        validators = blocks.validators(header.validators_hash)
    if before is None or header.epoch == before.epoch:
        return encode((raw, certificate, validators)), header
    begun = blocks.epoch_begun(height), blocks.validators(before.next_validators_hash)
    if None in begun:
        raise InvariantViolation(f"the recovery by which block {height} began epoch {header.epoch} is not here")
    return encode((raw, certificate, validators, begun)), header


def _answer(parts: Parts) -> web.Response:
    return web.Response(body=encode(parts), content_type=MSGPACK)
