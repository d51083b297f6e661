"""Answers: JSON that a person can read, and RFC 9457 problems with the stable codes of ``ledger.errors``.

Rules of this file

* Bytes are hexadecimal, amounts are integers of fen, times are Unix milliseconds, days count from 1970-01-01.
* Every refusal is ``application/problem+json`` with ``code``, whatever went wrong; what a client may repeat carries
  ``Retry-After``. An unexpected exception is our bug: it is not turned into an answer here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web

from ledger.errors import CODES, TransactionRejected

PRETTY_BYTES_MAX: Final = 65_536
"""Longer answers are for programs, and are not indented."""
RETRY_AFTER_SECONDS: Final = 1

STATUS: Final[dict[str, HTTPStatus]] = {
    "BAD_REQUEST": HTTPStatus.BAD_REQUEST,
    "MALFORMED": HTTPStatus.BAD_REQUEST,
    "WRONG_VERSION": HTTPStatus.BAD_REQUEST,
    "NOT_FOUND": HTTPStatus.NOT_FOUND,
    "NOT_THE_CLAIMANT": HTTPStatus.FORBIDDEN,
    "SIGNER_SUSPENDED": HTTPStatus.FORBIDDEN,
    "METHOD_NOT_ALLOWED": HTTPStatus.METHOD_NOT_ALLOWED,
    "DUPLICATE": HTTPStatus.CONFLICT,
    "TOO_LARGE": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "UNSUPPORTED_MEDIA_TYPE": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "BAD_SIGNATURE": HTTPStatus.UNPROCESSABLE_ENTITY,
    "EXPIRED": HTTPStatus.UNPROCESSABLE_ENTITY,
    "NOT_YET_VALID": HTTPStatus.UNPROCESSABLE_ENTITY,
    "QUOTA_EXCEEDED": HTTPStatus.TOO_MANY_REQUESTS,
    "RATE_LIMITED": HTTPStatus.TOO_MANY_REQUESTS,
    "MEMPOOL_FULL": HTTPStatus.SERVICE_UNAVAILABLE,
    "NOT_READY": HTTPStatus.SERVICE_UNAVAILABLE,
    "TOO_MANY_WAITERS": HTTPStatus.SERVICE_UNAVAILABLE,
    "NOT_PROVABLE_YET": HTTPStatus.SERVICE_UNAVAILABLE,
    "NOT_BORNE_OUT": HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""The HTTP status of every code that the API itself answers with."""
RETRYABLE: Final = frozenset(
    code for code, status in STATUS.items() if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
)


def plain(value: Any) -> Any:
    """The value in JSON's types: rows, dataclasses and bytes included."""
    match value:
        case bytes():
            return value.hex()
        case Enum():
            return value.name
        case bool() | int() | float() | str() | None:
            return value
        case msgspec.Struct():
            return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
        case Mapping():
            return {plain_key(key): plain(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return str(value)


def plain_key(key: Any) -> str:
    """The key of a mapping as text: enums by name, lower case, as people write them."""
    if isinstance(key, Enum):
        return key.name.lower()
    return key.hex() if isinstance(key, bytes) else str(key)


def _text(value: Any) -> bytes:
    return _pretty(msgspec.json.encode(plain(value)))


def _pretty(raw: bytes) -> bytes:
    return (msgspec.json.format(raw, indent=2) if len(raw) <= PRETTY_BYTES_MAX else raw) + b"\n"


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return web.Response(body=_text(value), status=status, content_type="application/json", headers=headers)


def answer_plain(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer whose value is in JSON's types already: a long list of transactions need not be walked again."""
    body = _pretty(msgspec.json.encode(value))
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


def problem(code: str, detail: str = "", *, more: Mapping[str, Any] | None = None) -> web.Response:
    """An RFC 9457 problem for one of ``ledger.errors.CODES``."""
    status = STATUS[code]
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "code": code,
        "detail": f"{CODES[code]}: {detail}" if detail else CODES[code],
        **(more or {}),
    }
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if code in RETRYABLE else None
    return web.Response(body=_text(body), status=status.value, content_type="application/problem+json", headers=headers)


def not_found(what: str) -> TransactionRejected:
    """The problem for something this chain has not got."""
    return TransactionRejected("NOT_FOUND", what)


def bad_request(why: str) -> TransactionRejected:
    """The problem for a request that the route does not take."""
    return TransactionRejected("BAD_REQUEST", why)
