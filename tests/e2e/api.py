"""A plain HTTP client for the end-to-end tests: it shows every answer as it came, refusals included."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any, Final
from urllib.parse import urlsplit

import msgpack

from ledger.blocks import decode_certificate

OCTETS: Final = "application/octet-stream"
MSGPACK: Final = "application/msgpack"
JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"
TRANSACTIONS: Final = "/v1/transactions"


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The stable code of an RFC 9457 problem; checks that it is one."""
        found = self.json()
        assert self.headers["content-type"].startswith(PROBLEM), (self.status, self.body)
        assert found["status"] == self.status
        return str(found["code"])


class Api:
    """One node's HTTP address. Every request has a connection of its own, so a killed node leaves nothing behind."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.url = url
        self.host, self.port = parts.hostname or "", parts.port or 0

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        seconds: float = 15,
    ) -> Answer:
        """Ask. Raises ``OSError`` or ``HTTPException`` when there is no whole answer."""
        connection = HTTPConnection(self.host, self.port, timeout=seconds)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """The JSON at ``path``."""
        answer = self.request("GET", path)
        assert answer.status == 200, (path, answer)
        return answer.json()

    def post(self, body: bytes, content_type: str, query: str = "", *, seconds: float = 15) -> Answer:
        """Submit a request body as it is."""
        return self.request("POST", TRANSACTIONS + query, body, {"Content-Type": content_type}, seconds=seconds)

    def submit(self, raw: bytes, *, wait: str = "committed", timeout: int = 10, seconds: float = 15) -> Answer:
        """Submit one transaction."""
        return self.post(raw, OCTETS, f"?wait={wait}&timeout={timeout}", seconds=seconds)

    def submit_many(
        self, raws: list[bytes], *, wait: str = "committed", timeout: int = 10, seconds: float = 15
    ) -> Answer:
        """Submit a list."""
        return self.post(msgpack.packb(raws), MSGPACK, f"?wait={wait}&timeout={timeout}", seconds=seconds)

    def signers(self, height: int) -> set[int]:
        """Who signed the certificate this node keeps of a block: positions in the validator set."""
        raw = self.request("GET", f"/v1/blocks/{height}?raw=true").body
        certificate = decode_certificate(msgpack.unpackb(raw)[2])
        return {seal.index for seal in certificate.seals}

    def chain(self, last: int | None = None) -> list["Block"]:
        """Every block from 1 on, up to ``last`` or the newest, read from the export."""
        path = "/v1/blocks/export?from=1" + ("" if last is None else f"&to={last}")
        answer = self.request("GET", path, seconds=30)
        assert answer.status == 200, answer
        unpacker = msgpack.Unpacker(max_buffer_size=2**31 - 1)
        unpacker.feed(answer.body)
        return [Block(header, body) for header, body, _certificate, _receipts in unpacker]


@dataclass(frozen=True)
class Block:
    """The exact bytes of a block as exported."""

    header: bytes
    body: bytes

    @property
    def transactions(self) -> list[bytes]:
        """Its transactions, by schema-free reading."""
        found: list[bytes] = msgpack.unpackb(self.body)[0]
        return found
