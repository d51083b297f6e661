"""Reading a request's path and query: typed, bounded, and refused with what is wrong."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from .answers import bad_request

ID_MAX: Final = 2**63 - 1
LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1_000


def _integer(text: str, name: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and low <= int(text) <= high):
        raise bad_request(f"{name} must be an integer from {low} to {high}, not {text[:40]!r}")
    return int(text)


def path_id(request: web.Request, name: str = "id", high: int = ID_MAX) -> int:
    """An id in the path."""
    return _integer(request.match_info[name], name, 0, high)


def integer(request: web.Request, name: str, default: int, *, low: int = 0, high: int = ID_MAX) -> int:
    """An integer of the query."""
    text = request.query.get(name)
    return default if text is None else _integer(text, name, low, high)


def maybe(request: web.Request, name: str, high: int = ID_MAX) -> int | None:
    """An integer of the query that may be absent."""
    text = request.query.get(name)
    return None if text is None else _integer(text, name, 0, high)


def limit(request: web.Request) -> int:
    """How many rows the client wants at most."""
    return integer(request, "limit", LIMIT_DEFAULT, low=1, high=LIMIT_MAX)


def flag(request: web.Request, name: str) -> bool:
    """``?name=true``."""
    text = request.query.get(name, "false")
    if text not in ("true", "false"):
        raise bad_request(f"{name} must be true or false, not {text[:40]!r}")
    return text == "true"


def one_of(request: web.Request, name: str, allowed: tuple[str, ...]) -> str:
    """A word of the query; the first of ``allowed`` is the default."""
    text = request.query.get(name, allowed[0])
    if text not in allowed:
        raise bad_request(f"{name} must be one of {', '.join(allowed)}, not {text[:40]!r}")
    return text


def digest(text: str, name: str) -> bytes:
    """32 bytes in hexadecimal."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != 32 or len(text) != 64:
        raise bad_request(f"{name} must be 64 hexadecimal digits")
    return raw
