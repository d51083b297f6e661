"""The proof of a claim's row, for its claimant alone (LEDGER §6).

A claim's row holds the age group, the illness and the salts that would let a guess be confirmed: nobody else is given a
proof of it. Whoever asks signs the question: with the member's own key, or, for a member without one, with the key of
the platform that serves him.

Rules of this file

* The question is signed for this claim, on this chain, at a time that is now: it cannot be asked again by others.
* Whose the claim is, is looked up in the newest state; what is proven lies in the certified one.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from aiohttp import web

from ledger.claim_question import ASKED_WITHIN_MS, question_digest
from ledger.errors import TransactionRejected
from ledger.member_keys import key_of, owner_of
from ledger.organisations import by_key, require_active
from ledger.roles import Role
from ledger.rows import Claim
from ledger.signing import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, verify

from . import asked
from .answers import answer, bad_request
from .ledger_views import ledger_time_ms
from .paging import need
from .proving import prove
from .view import NodeView, StateAt


class _Question(msgspec.Struct, forbid_unknown_fields=True):
    signer: str
    asked_ms: Annotated[int, msgspec.Meta(ge=0, le=asked.ID_MAX)]
    signature: str


class Claimants:
    """The route for those whose claim it is."""

    def __init__(self, view: NodeView) -> None:
        self._view = view

    async def proof(self, request: web.Request) -> web.StreamResponse:
        """The ICS-23 proof of a claim's row, for the claimant: a JSON object of signer, asked_ms and signature.

        `huzhu proof claim` asks for it. The signature is over the question (`ledger.claim_question`); asked_ms is at
        most a minute from this node's clock.
        """
        claim_id = asked.path_id(request)
        signer, asked_ms, signature = _question(await request.read())
        if abs(asked_ms - self._view.clock_ms()) > ASKED_WITHIN_MS:
            raise bad_request(f"asked_ms is more than {ASKED_WITHIN_MS} ms from this node's clock")
        if not verify(signer, question_digest(self._view.chain_id, claim_id, asked_ms), signature):
            raise TransactionRejected("BAD_SIGNATURE", f"not the signer's over the question for claim {claim_id}")
        at = self._view.current
        require_claimant(at, need(at.state, Claim, claim_id, "claim"), signer)
        return answer(prove(self._view, Claim, claim_id))


def require_claimant(at: StateAt, row: Claim, signer: bytes) -> None:
    """Refuse everybody else. Raises ``TransactionRejected``: NOT_THE_CLAIMANT, SIGNER_SUSPENDED."""
    now = ledger_time_ms(at)
    if owner_of(at.state, signer, now) == row.member:
        return
    found = by_key(at.state, signer)
    if found is not None and found[1].roles & Role.PLATFORM and key_of(at.state, row.member, now) is None:
        require_active(found[1])
        return
    raise TransactionRejected("NOT_THE_CLAIMANT", "the claimant's own key asks, or the platform's for him who has none")


def _question(raw: bytes) -> tuple[bytes, int, bytes]:
    """(signer, asked_ms, signature) of a request's body."""
    try:
        asked_ = msgspec.json.decode(raw, type=_Question)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(f"the body must be a JSON object of signer, asked_ms and signature: {error}") from error
    return (
        _octets(asked_.signer, "signer", PUBLIC_KEY_BYTES),
        asked_.asked_ms,
        _octets(asked_.signature, "signature", SIGNATURE_BYTES),
    )


def _octets(text: str, name: str, size: int) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != size:
        raise bad_request(f"{name} must be {2 * size} hexadecimal digits")
    return raw
