"""Submitting transactions, and what became of them.

A transaction is *committed* (with its receipt), *pending* here, *expired*, or unknown. Expired is said only when a
committed block is past its ``valid_until`` (DESIGN §2): until then whoever sends it again risks that both are executed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec
from aiohttp import web

from ledger.blocks import Receipt, decode_body
from ledger.errors import CODES, OK, TransactionRejected
from ledger.limits import BLOCK_TRANSACTIONS_MAX
from ledger.transactions import decode_transaction, transaction_id

from ..admission import Outcome, Source
from ..steps import Steps
from . import asked
from .answers import RETRY_AFTER_SECONDS, RETRYABLE, answer, answer_plain, bad_request, not_found, problem
from .view import NodeView, StateAt
from .waiters import CommitWaiters, Result
from .withheld import shown_body

TRANSACTIONS_MAX: Final = BLOCK_TRANSACTIONS_MAX
"""Most transactions of one request."""
WAIT_SECONDS_DEFAULT: Final = 10
WAIT_SECONDS_MAX: Final = 60

EMPTY: Final[Mapping[bytes, Result]] = MappingProxyType({})
Raws = tuple[list[bytes], bool]
"""The transactions of a request, and whether it was a single one rather than a list."""


# ---- reading the body ------------------------------------------------------------------------------------------------


def _octets(body: bytes) -> Raws:
    return [body], True


_LIST: Final = msgspec.msgpack.Decoder(list[bytes])


def _msgpack(body: bytes) -> Raws:
    try:
        return _LIST.decode(body), False
    except (msgspec.MsgspecError, RecursionError) as error:
        raise bad_request(f"the body must be a MessagePack array of transactions, each as bin: {error}") from error


_JSON_SHAPE: Final = 'the body must be {"transaction": text} or {"transactions": [text, ...]}, in hex or base64'


def _json(body: bytes) -> Raws:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict) or len(value) != 1:
        raise bad_request(_JSON_SHAPE)
    single, several = value.get("transaction"), value.get("transactions")
    if isinstance(single, str):
        return [_from_text(single)], True
    if isinstance(several, list):
        return [_from_text(item) for item in several], False
    raise bad_request(_JSON_SHAPE)


def _from_text(text: Any) -> bytes:
    """Hexadecimal, else base64. (Six-element arrays begin 96 in hex and "lg" to "ln" in base64: never both.)"""
    if not isinstance(text, str):
        raise bad_request(_JSON_SHAPE)
    try:
        return bytes.fromhex(text)
    except ValueError:
        pass
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise bad_request("a transaction in JSON is text in hex or base64") from error


_READERS: Final[dict[str, Callable[[bytes], Raws]]] = {
    "application/octet-stream": _octets,
    "application/msgpack": _msgpack,
    "application/x-msgpack": _msgpack,
    "application/json": _json,
}


def reader_of(request: web.Request) -> Callable[[bytes], Raws]:
    """How its body is read. Raises ``TransactionRejected`` UNSUPPORTED_MEDIA_TYPE."""
    reader = _READERS.get(request.content_type)
    if reader is None:
        raise TransactionRejected("UNSUPPORTED_MEDIA_TYPE", f"{request.content_type}; it takes {', '.join(_READERS)}")
    return reader


def read_transactions(reader: Callable[[bytes], Raws], body: bytes) -> Raws:
    """The transactions of a request's body. Raises ``TransactionRejected`` BAD_REQUEST, TOO_LARGE."""
    raws, single = reader(body)
    if not raws:
        raise bad_request("the list holds no transaction")
    if len(raws) > TRANSACTIONS_MAX:
        raise TransactionRejected("TOO_LARGE", f"{len(raws)} transactions, at most {TRANSACTIONS_MAX} in a request")
    return raws, single


# ---- the state of a transaction --------------------------------------------------------------------------------------


class Committed:
    """Where transactions were committed, and their receipts. One for each answer: a block's receipts are read once."""

    def __init__(self, at: StateAt, results: Mapping[bytes, Result] = EMPTY) -> None:
        """``results``: those that are known without reading."""
        self._at = at
        self._results = results
        self._receipts: dict[int, list[Receipt]] = {}

    def find(self, tx_id: bytes) -> dict[str, Any] | None:
        """The committed transaction, or ``None``."""
        result = self._results.get(tx_id) or self._read(tx_id)
        if result is None:
            return None
        height, position, receipt = result
        return {
            "id": tx_id.hex(),
            "status": "committed",
            "height": height,
            "position": position,
            "code": receipt.code,
            "detail": list(receipt.detail),
            "message": CODES[receipt.code],
        }

    def _read(self, tx_id: bytes) -> Result | None:
        place = self._at.blocks.place_of(tx_id)
        if place is None or place.height > self._at.height:
            return None
        return place.height, place.position, self._receipts_of(place.height)[place.position]

    def _receipts_of(self, height: int) -> list[Receipt]:
        """Of a block's transactions, in body order: those of its deadlines come first and are left out."""
        found = self._receipts.get(height)
        if found is None:
            receipts = self._at.blocks.receipts(height) or ()
            found = self._receipts[height] = [item for item in receipts if isinstance(item.subject, bytes)]
        return found


class Submitting:
    """Routes under ``/v1/transactions``."""

    def __init__(self, view: NodeView, waiters: CommitWaiters, steps: Steps | None = None) -> None:
        self._view = view
        self._waiters = waiters
        self._answering = (steps if steps is not None else Steps()).of("answer")

    def _lookup(self, committed: Committed, tx_id: bytes, valid_until_ms: int | None = None) -> dict[str, Any] | None:
        """What is known of a transaction; ``None``: nothing."""
        view = self._view
        found = committed.find(tx_id)
        if found is not None:
            return found
        entry = view.mempool.get(tx_id)
        if entry is not None:
            return {"id": tx_id.hex(), "status": "pending", "valid_until_ms": entry.transaction.valid_until_ms}
        head = view.current.blocks.header(view.current.height)
        past = valid_until_ms is not None and head is not None and head.time_ms > valid_until_ms
        if past or view.mempool.expired(tx_id):
            return {"id": tx_id.hex(), "status": "expired", "code": "EXPIRED", "message": CODES["EXPIRED"]}
        return None

    async def show(self, request: web.Request) -> web.StreamResponse:
        """A transaction: committed with its receipt, pending, expired (?valid_until_ms= helps) or 404; &raw=true."""
        tx_id = asked.digest(request.match_info["id"], "the transaction id")
        found = self._lookup(Committed(self._view.current), tx_id, asked.maybe(request, "valid_until_ms"))
        if found is None:
            raise not_found("this node knows no such transaction; it may be in a block that is still to come")
        raw = self._raw(tx_id, found)
        if asked.flag(request, "raw"):
            if raw is None:
                raise not_found("the bytes of this transaction are not kept here")
            return web.Response(body=raw, content_type="application/octet-stream")
        if raw is not None:
            transaction = decode_transaction(raw)
            found |= {
                "type": transaction.body.__struct_config__.tag,
                "body": shown_body(transaction.body),
                "signer": transaction.signer.hex(),
                "valid_until_ms": transaction.valid_until_ms,
            }
        return answer(found)

    def _raw(self, tx_id: bytes, found: dict[str, Any]) -> bytes | None:
        if found["status"] != "committed":
            return self._view.mempool.raw(tx_id)
        body = self._view.current.blocks.body_raw(found["height"])
        return None if body is None else decode_body(body).transactions[found["position"]]

    async def submit(self, request: web.Request) -> web.StreamResponse:
        """Submit one or many: ?wait=none|checked|committed &timeout=seconds. Bodies: octet-stream, msgpack, JSON."""
        wait = asked.one_of(request, "wait", ("checked", "none", "committed"))
        timeout_s = asked.integer(request, "timeout", WAIT_SECONDS_DEFAULT, low=0, high=WAIT_SECONDS_MAX)
        if self._view.admission.refused_at_the_door():
            raise TransactionRejected("MEMPOOL_FULL", "more waits than the network commits in seconds")
        raws, single = await self._raws(request)
        if wait == "none":
            return self._left_in_the_inbox(raws)
        outcomes = await self._view.admission.submit(raws, Source.CLIENT)
        if wait == "committed":
            found: dict[bytes, Result] = {}
            settled = await self._settled(outcomes, timeout_s, found)
            return self._answer(outcomes, single, 200 if settled else 202, found)
        return self._answer(outcomes, single, 200, EMPTY)

    async def _raws(self, request: web.Request) -> Raws:
        reader = reader_of(request)
        body = await request.read()
        with self._answering:
            return read_transactions(reader, body)

    def _left_in_the_inbox(self, raws: Sequence[bytes]) -> web.Response:
        if not self._view.admission.offer(raws, Source.CLIENT):
            return problem("MEMPOOL_FULL", "the list of submissions still to be checked is full")
        ids = [{"id": transaction_id(raw).hex(), "status": "received"} for raw in raws]
        return answer({"transactions": ids}, 202)

    async def _settled(self, outcomes: Sequence[Outcome], timeout_s: float, found: dict[bytes, Result]) -> bool:
        """Wait for those that were admitted. Nothing else runs between the look at their states and the waiting."""
        with self._answering:
            waiting = {outcome.id for outcome in outcomes if outcome.code == OK and not self._is_settled(outcome.id)}
        return await self._waiters.wait(waiting, timeout_s, found)

    def _is_settled(self, tx_id: bytes) -> bool:
        view = self._view
        if tx_id in view.mempool:  # what waits is in no block
            return False
        return view.mempool.expired(tx_id) or view.current.blocks.place_of(tx_id) is not None

    def _answer(
        self, outcomes: Sequence[Outcome], single: bool, status: int, found: Mapping[bytes, Result]
    ) -> web.Response:
        with self._answering:
            return self._written(outcomes, single, status, found)

    def _written(
        self, outcomes: Sequence[Outcome], single: bool, status: int, found: Mapping[bytes, Result]
    ) -> web.Response:
        committed = Committed(self._view.current, found)
        items = [self._item(committed, outcome) for outcome in outcomes]
        refused = [outcome for outcome in outcomes if outcome.code not in (OK, "DUPLICATE")]
        if single and refused:
            return problem(refused[0].code, refused[0].detail, more={"id": refused[0].id.hex()})
        if single:
            return answer(items[0], status)
        retryable = [outcome.code for outcome in refused if outcome.code in RETRYABLE]
        body = {"accepted": len(outcomes) - len(refused), "refused": len(refused), "transactions": items}
        if len(retryable) == len(outcomes):
            return problem(retryable[0], "none of the list was admitted", more=body)
        return answer_plain(body, status, {"Retry-After": str(RETRY_AFTER_SECONDS)} if retryable else None)

    def _item(self, committed: Committed, outcome: Outcome) -> dict[str, Any]:
        if outcome.code in (OK, "DUPLICATE"):
            found = self._lookup(committed, outcome.id)
            if found is not None:
                return found
            return {"id": outcome.id.hex(), "status": "pending"}
        return {
            "id": outcome.id.hex(),
            "status": "refused",
            "code": outcome.code,
            "message": CODES[outcome.code] + (f": {outcome.detail}" if outcome.detail else ""),
        }
