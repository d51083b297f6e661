"""Signing and sending transactions: what is sent is executed, or the reason why not is raised.

The same bytes may be sent again, to the same node or to another: a transaction is executed at most once. So an answer
that got lost does no harm, and a node that dies meanwhile is replaced by the next.
"""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ledger.errors import OK, OperatorError
from ledger.limits import SALT_BYTES, VALIDITY_WINDOW_MS
from ledger.transactions import sign_transaction
from node.keys import KeyPair

from .client import NodeClient
from .output import Exit

ROUTE: Final = "/v1/transactions"
MSGPACK: Final = "application/msgpack"
VALID_MS: Final = VALIDITY_WINDOW_MS // 2
"""Half the window: room for a clock that is ahead, and for a slow block."""
WAIT_SECONDS: Final = 30
REQUEST_TRANSACTIONS_MAX: Final = 4_096
REQUEST_BYTES_MAX: Final = 8_388_608
"""Below a node's default largest request body."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A transaction in a block: its id, the block, the receipt."""

    id: str
    height: int
    code: str
    detail: tuple[int, ...]


def now_ms() -> int:
    """This machine's clock, in Unix milliseconds."""
    return time.time_ns() // 1_000_000


def sign(body: Any, key: KeyPair, chain_id: bytes, *, epoch: int = 0) -> bytes:
    """The signed bytes of ``body``, valid for half the validity window from now."""
    return sign_transaction(
        body,
        seed=key.secret,
        signer=key.public,
        valid_until_ms=now_ms() + VALID_MS,
        salt=secrets.token_bytes(SALT_BYTES),
        chain_id=chain_id,
        epoch=epoch,
    )


async def submit(client: NodeClient, raws: Sequence[bytes], wait: str = "committed") -> list[dict[str, Any]]:
    """What the node says of each transaction: at once, once checked, or once committed (at most ``WAIT_SECONDS``)."""
    answers: list[dict[str, Any]] = []
    for part in _requests(raws):
        body = msgspec.msgpack.encode(part)
        answer = await client.post(ROUTE, body, MSGPACK, wait=wait, timeout=WAIT_SECONDS)
        answers += answer["transactions"]
    return answers


def _requests(raws: Sequence[bytes]) -> list[list[bytes]]:
    parts: list[list[bytes]] = []
    size = 0
    for raw in raws:
        if not parts or len(parts[-1]) == REQUEST_TRANSACTIONS_MAX or size + len(raw) > REQUEST_BYTES_MAX:
            parts.append([])
            size = 0
        parts[-1].append(raw)
        size += len(raw)
    return parts


def executed(answer: dict[str, Any]) -> Committed:
    """The committed transaction. Raises ``OperatorError`` with the code of the refusal, or PENDING."""
    status, code = answer["status"], str(answer.get("code", ""))
    if status == "committed" and code == OK:
        return Committed(answer["id"], answer["height"], code, tuple(answer["detail"]))
    if status == "pending":
        raise OperatorError(
            "PENDING",
            f"transaction {answer['id']} is not committed yet",
            "it stays valid: do not make another one of it",
            f"huzhu tx wait {answer['id']}",
            exit_code=Exit.NOT_READY.value,
        )
    raise OperatorError(
        code or "FAILED", f"transaction {answer['id']} was {status}", str(answer.get("message", "")), "", exit_code=1
    )


async def send(client: NodeClient, body: Any, key: KeyPair) -> Committed:
    """Sign one body for the node's chain, wait until it is committed. Raises ``OperatorError``."""
    status = await client.get("/v1/status")
    raw = sign(body, key, bytes.fromhex(status["chain_id"]), epoch=int(status["epoch"]))
    (answer,) = await submit(client, [raw])
    return executed(answer)
