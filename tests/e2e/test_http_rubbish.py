"""Rubbish over HTTP to a live node: each its own status and stable code, and the node lives on (NODE §2)."""

import gzip
import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgpack
import pytest

from cli.output import Exit
from ledger.errors import CODES
from ledger.limits import BATCH_ITEMS_MAX, SINGLE_TRANSACTION_BYTES_MAX, TRANSACTION_BYTES_MAX, VALIDITY_WINDOW_MS
from ledger.transactions import AdvanceClock, Enrol, EnrolBatch, transaction_id
from node.keys import KeyKind, generate

from .api import JSON, MSGPACK, OCTETS, PROBLEM, TRANSACTIONS, Answer
from .network import READY_SECONDS, LiveNetwork, LiveNode, until

pytestmark = pytest.mark.e2e

BODY_BYTES_MAX: Final = 16_777_216
"""Of a request, as a node's configuration has it by default."""
LIST_MAX: Final = 10_000


@pytest.fixture
def node(four: LiveNetwork) -> Iterator[LiveNode]:
    """A validator to be plagued. Afterwards it is the same process, and still commits."""
    node = four.nodes["bank"]
    pid = node.pid
    yield node
    assert node.pid == pid
    four.commit_one(node)


# ---- one transaction that is refused -------------------------------------------------------------------------------


def of_bytes(network: LiveNetwork, size: int, batch: bool) -> bytes:
    """A transaction of exactly ``size`` bytes, padded in a field whose size only its execution judges."""

    def sized(padding: int) -> bytes:
        identity = bytes(padding)
        return network.sign(EnrolBatch(0, ((identity, 1),)) if batch else Enrol(0, identity, 1, b""))

    raw = sized(size)
    return sized(size - (len(raw) - size))


def broken(raw: bytes) -> bytes:
    """The same transaction with one bit of its signature turned."""
    return raw[:-1] + bytes([raw[-1] ^ 1])


Make = Callable[[LiveNetwork], bytes]
REFUSED: Final[dict[str, tuple[Make, int, str]]] = {
    "nothing that is MessagePack": (lambda net: b"\xc1" * 40, 400, "MALFORMED"),
    "an empty body": (lambda net: b"", 400, "MALFORMED"),
    "a transaction cut short": (lambda net: net.enrolment()[:-1], 400, "MALFORMED"),
    "a byte too many": (lambda net: net.enrolment() + b"\0", 400, "MALFORMED"),
    "an integer that is not minimal": (lambda net: b"\x96\xcc\x01" + net.enrolment()[2:], 400, "MALFORMED"),
    "a deep nest": (lambda net: b"\x91" * 4_000, 400, "MALFORMED"),
    "an array that announces four thousand million elements": (lambda net: b"\xdd\xff\xff\xff\xff", 400, "MALFORMED"),
    "another version": (lambda net: b"\x96\x02" + net.enrolment()[2:], 400, "WRONG_VERSION"),
    "one byte more than a single transaction may have": (
        lambda net: of_bytes(net, SINGLE_TRANSACTION_BYTES_MAX + 1, batch=False),
        413,
        "TOO_LARGE",
    ),
    "one byte more than a batch may have": (
        lambda net: of_bytes(net, TRANSACTION_BYTES_MAX + 1, batch=True),
        413,
        "TOO_LARGE",
    ),
    "a wrong signature": (lambda net: broken(net.enrolment()), 422, "BAD_SIGNATURE"),
    "a transaction of another chain": (
        lambda net: net.sign(Enrol(0, bytes(32), 1, b""), chain_id=b"\x07" * 32),
        422,
        "BAD_SIGNATURE",
    ),
    "an expired transaction": (lambda net: net.enrolment(valid_ms=-VALIDITY_WINDOW_MS), 422, "EXPIRED"),
    "one that is valid for too long": (
        lambda net: net.enrolment(valid_ms=VALIDITY_WINDOW_MS + 60_000),
        422,
        "NOT_YET_VALID",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_transaction_is_refused_with_its_own_code(four: LiveNetwork, node: LiveNode, what: str) -> None:
    make, status, code = REFUSED[what]
    four.commit_one(node)  # the chain has a time to be expired against
    answer = node.api.submit(make(four))
    assert (answer.status, answer.code) == (status, code)
    assert CODES[code] in answer.json()["detail"]


# ---- one that is executed and fails --------------------------------------------------------------------------------

FAILED: Final[dict[str, tuple[Make, str]]] = {
    "a role that may not": (
        lambda net: net.sign(Enrol(0, secrets.token_bytes(32), 1990 * 12, b""), "hospital"),
        "NOT_PERMITTED",
    ),
    "a key nobody has": (
        lambda net: net.sign(Enrol(0, secrets.token_bytes(32), 1990 * 12, b""), generate(KeyKind.ORGANISATION)),
        "UNKNOWN_SIGNER",
    ),
    "a clock that cannot be advanced": (lambda net: net.sign(AdvanceClock(2**41)), "CLOCK_NOT_STEPPED"),
    "a single transaction of the largest size": (
        lambda net: of_bytes(net, SINGLE_TRANSACTION_BYTES_MAX, batch=False),
        "BAD_FIELD",
    ),
    "a batch of the largest size": (lambda net: of_bytes(net, TRANSACTION_BYTES_MAX, batch=True), "BAD_FIELD"),
    "a batch of one item too many": (
        lambda net: net.sign(EnrolBatch(0, tuple((at.to_bytes(32, "big"), 1) for at in range(BATCH_ITEMS_MAX + 1)))),
        "BATCH_TOO_LARGE",
    ),
}


@pytest.mark.parametrize("what", FAILED)
def test_a_transaction_that_may_not_be_is_committed_with_a_failed_receipt(
    four: LiveNetwork, node: LiveNode, what: str
) -> None:
    make, code = FAILED[what]
    answer = node.api.submit(make(four))
    found = answer.json()
    assert (answer.status, found["status"], found["code"]) == (200, "committed", code)
    assert found["message"] == CODES[code]


def test_a_batch_of_as_many_items_as_are_allowed_is_executed(four: LiveNetwork, node: LiveNode) -> None:
    members = tuple((secrets.token_bytes(32), 1990 * 12) for _ in range(BATCH_ITEMS_MAX))
    found = node.api.submit(four.sign(EnrolBatch(0, members))).json()
    assert (found["status"], found["code"]) == ("committed", "OK")


# ---- the same one again --------------------------------------------------------------------------------------------


def test_a_transaction_sent_again_is_the_same_transaction_and_executed_once(four: LiveNetwork, node: LiveNode) -> None:
    raw = four.enrolment()
    both = node.api.submit_many([raw, raw]).json()["transactions"]
    assert both[0] == both[1]
    assert both[0]["status"] == "committed"
    again = node.api.submit(raw)
    elsewhere = four.nodes["platform"].api.submit(raw)
    assert (again.status, again.json()) == (elsewhere.status, elsewhere.json()) == (200, both[0])
    everywhere = [item for block in node.api.chain() for item in block.transactions]
    assert everywhere.count(raw) == 1


def test_a_transaction_sent_again_while_it_waits_is_still_pending(four: LiveNetwork, node: LiveNode) -> None:
    two_others = [four.nodes["platform"], four.nodes["assessor-east"]]
    for other in two_others:  # two of four are left: nothing is decided
        other.pause()
    try:
        raw = four.enrolment()
        first, second = node.api.submit(raw, wait="checked").json(), node.api.submit(raw, wait="checked").json()
        assert first["status"] == second["status"] == "pending"
        unsettled = node.api.submit(raw, wait="committed", timeout=1)
        assert (unsettled.status, unsettled.json()["status"]) == (202, "pending")
    finally:
        for other in two_others:
            other.resume()
    assert node.api.submit(raw, timeout=20, seconds=25).json()["code"] == "OK"
    assert [item for block in node.api.chain() for item in block.transactions].count(raw) == 1


# ---- lists ---------------------------------------------------------------------------------------------------------


def test_one_bad_transaction_of_a_list_says_nothing_about_the_others(four: LiveNetwork, node: LiveNode) -> None:
    good = [four.enrolment(), four.enrolment()]
    answer = node.api.submit_many([good[0], b"rubbish", broken(four.enrolment()), good[1]])
    found = answer.json()
    assert (answer.status, found["accepted"], found["refused"]) == (200, 2, 2)
    assert [item["code"] for item in found["transactions"]] == ["OK", "MALFORMED", "BAD_SIGNATURE", "OK"]


def test_an_unknown_key_has_a_small_quota(four: LiveNetwork, node: LiveNode) -> None:
    stranger = generate(KeyKind.ORGANISATION)
    raws = [four.sign(Enrol(0, bytes(32), 1, b""), stranger) for _ in range(3)]
    answer = node.api.submit_many(raws, wait="checked")
    assert [item.get("code") for item in answer.json()["transactions"]][-1] == "QUOTA_EXCEEDED"
    assert answer.headers["retry-after"]
    node.api.submit_many(raws[:2])


def test_a_list_takes_ten_thousand_and_no_more(four: LiveNetwork, node: LiveNode) -> None:
    many = node.api.submit_many([b"\xc1"] * LIST_MAX, wait="checked")
    assert (many.status, many.json()["refused"]) == (200, LIST_MAX)
    more = node.api.submit_many([b"\xc1"] * (LIST_MAX + 1), wait="checked")
    assert (more.status, more.code) == (413, "TOO_LARGE")


# ---- requests that are none ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """A request and the answer it must get."""

    status: int
    code: str
    method: str = "POST"
    path: str = TRANSACTIONS
    body: bytes | None = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


REQUESTS: Final[dict[str, Request]] = {
    "broken JSON": Request(400, "BAD_REQUEST", body=b'{"transaction": '),
    "JSON that is not UTF-8": Request(400, "BAD_REQUEST", body=b'{"transaction": "\xff\xfe"}'),
    "JSON of another shape": Request(400, "BAD_REQUEST", body=b'{"transactions": {"a": 1}}'),
    "JSON with a number for a transaction": Request(400, "BAD_REQUEST", body=b'{"transactions": [1]}'),
    "JSON with text that is neither hex nor base64": Request(400, "BAD_REQUEST", body=b'{"transaction": "?"}'),
    "deep JSON": Request(400, "BAD_REQUEST", body=b"[" * 100_000),
    "an empty list in JSON": Request(400, "BAD_REQUEST", body=b'{"transactions": []}'),
    "a MessagePack body that is no list": Request(400, "BAD_REQUEST", body=b"\x2a", content_type=MSGPACK),
    "a MessagePack list of numbers": Request(400, "BAD_REQUEST", body=msgpack.packb([1, 2]), content_type=MSGPACK),
    "a deep MessagePack list": Request(400, "BAD_REQUEST", body=b"\x91" * 100_000, content_type=MSGPACK),
    "no content type that is known": Request(415, "UNSUPPORTED_MEDIA_TYPE", body=b"x", content_type="text/plain"),
    "a form": Request(415, "UNSUPPORTED_MEDIA_TYPE", body=b"a=1", content_type="application/x-www-form-urlencoded"),
    "a body one byte too large": Request(413, "TOO_LARGE", body=bytes(BODY_BYTES_MAX + 1), content_type=OCTETS),
    "a small body that unpacks to a large one": Request(
        413,
        "TOO_LARGE",
        body=gzip.compress(bytes(BODY_BYTES_MAX + 1)),
        content_type=OCTETS,
        headers=(("Content-Encoding", "gzip"),),
    ),
    "a body that is not what its encoding says": Request(
        400, "BAD_REQUEST", body=b"not gzip", content_type=OCTETS, headers=(("Content-Encoding", "gzip"),)
    ),
    "a wait that does not exist": Request(400, "BAD_REQUEST", path=f"{TRANSACTIONS}?wait=for-ever", body=b"x"),
    "a wait that is too long": Request(400, "BAD_REQUEST", path=f"{TRANSACTIONS}?timeout=61", body=b"x"),
    "a content type that is not ASCII": Request(415, "UNSUPPORTED_MEDIA_TYPE", body=b"x", content_type="text/\xff"),
    "an unknown route": Request(404, "NOT_FOUND", "GET", "/v1/nothing", None),
    "a route that is not UTF-8": Request(404, "NOT_FOUND", "GET", "/v1/%ff%fe", None),
    "a route with half a surrogate pair": Request(404, "NOT_FOUND", "GET", "/v1/%ed%a0%80", None),
    "a query that is not UTF-8": Request(400, "BAD_REQUEST", "GET", "/v1/blocks?limit=%ff%ed%a0%80", None),
    "an id that is not UTF-8": Request(400, "BAD_REQUEST", "GET", f"{TRANSACTIONS}/%ff", None),
    "a table that is not UTF-8": Request(404, "NOT_FOUND", "GET", "/v1/proofs/%ff/1", None),
    "a number of other digits": Request(400, "BAD_REQUEST", "GET", "/v1/members/%D9%A1", None),
    "a way out of the tree": Request(404, "NOT_FOUND", "GET", "/v1/../../etc/passwd", None),
    "a method the route has not": Request(405, "METHOD_NOT_ALLOWED", "DELETE", "/v1/blocks", None),
    "a read that is posted": Request(405, "METHOD_NOT_ALLOWED", "POST", "/v1/status", b"{}"),
    "a method few have": Request(405, "METHOD_NOT_ALLOWED", "OPTIONS", TRANSACTIONS, None),
    "a block that is no block": Request(400, "BAD_REQUEST", "GET", "/v1/blocks/first", None),
    "a block that is still to come": Request(404, "NOT_FOUND", "GET", "/v1/blocks/999999999", None),
    "a height below zero": Request(400, "BAD_REQUEST", "GET", "/v1/blocks/-1", None),
    "a transaction id that is none": Request(400, "BAD_REQUEST", "GET", f"{TRANSACTIONS}/xyz", None),
    "a transaction nobody knows": Request(404, "NOT_FOUND", "GET", f"{TRANSACTIONS}/{'ab' * 32}", None),
    "a member nobody knows": Request(404, "NOT_FOUND", "GET", "/v1/members/123456789", None),
    "a member with a huge number": Request(400, "BAD_REQUEST", "GET", f"/v1/members/{2**64}", None),
    "a limit of zero": Request(400, "BAD_REQUEST", "GET", "/v1/blocks?limit=0", None),
    "a claim nobody knows": Request(404, "NOT_FOUND", "GET", "/v1/claims/123456789", None),
    "a table that is not proved": Request(404, "NOT_FOUND", "GET", "/v1/proofs/nothing/1", None),
}


@pytest.mark.parametrize("what", REQUESTS)
def test_a_request_is_refused_with_its_own_code(node: LiveNode, what: str) -> None:
    wanted = REQUESTS[what]
    headers = {"Content-Type": wanted.content_type, **dict(wanted.headers)}
    answer = node.api.request(wanted.method, wanted.path, wanted.body, headers)
    assert (answer.status, answer.code) == (wanted.status, wanted.code)
    assert wanted.code in CODES


def test_a_body_of_the_largest_size_is_read(node: LiveNode) -> None:
    answer = node.api.post(bytes(BODY_BYTES_MAX), OCTETS)
    assert (answer.status, answer.code) == (413, "TOO_LARGE")
    assert str(TRANSACTION_BYTES_MAX) in answer.json()["detail"], "the transaction is too large, not the request"


# ---- what is not even HTTP -----------------------------------------------------------------------------------------

NOT_HTTP: Final = {
    "random bytes": secrets.token_bytes(4_096),
    "a TLS hello": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "a method nobody has": b"BREW /v1/transactions HTTP/1.1\r\nHost: x\r\n\r\n",
    "a request line without an end": b"GET /" + b"a" * 100_000,
    "headers without an end": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % at for at in range(5_000)),
    "two lengths that contradict": (
        b"POST /v1/transactions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"
    ),
    "a chunk of a negative size": (
        b"POST /v1/transactions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n"
    ),
    "a chunk that goes bad after a good one": (
        b"POST /v1/transactions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n"
    ),
    "a body that ends too soon": b"POST /v1/transactions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhello",
    "a deflated body cut short": (
        b"POST /v1/transactions HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
        b"Content-Encoding: deflate\r\n\r\n\x78\x9c\x01\xff"
    ),
}


@pytest.mark.parametrize("what", NOT_HTTP)
def test_what_is_not_http_is_answered_with_a_client_error_or_hung_up_on(node: LiveNode, what: str) -> None:
    with socket.create_connection((node.api.host, node.api.port), timeout=10) as connection:
        try:
            connection.sendall(NOT_HTTP[what])
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(65_536)
        except (ConnectionError, BrokenPipeError):
            answer = b""
    assert answer == b"" or answer.startswith(b"HTTP/1.") and answer.split()[1].startswith(b"4"), answer[:200]


def test_what_is_not_http_is_counted_and_writes_nothing_into_the_log(node: LiveNode) -> None:
    before, lines = malformed(node), len(node.log.read_text().splitlines())
    for what in ("two lengths that contradict", "a chunk of a negative size", "a chunk that goes bad after a good one"):
        with socket.create_connection((node.api.host, node.api.port), timeout=10) as connection:
            connection.sendall(NOT_HTTP[what])
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass
    assert malformed(node) >= before + 3
    for line in node.log.read_text().splitlines()[lines:]:
        assert json.loads(line)["event"] == "summary"


def malformed(node: LiveNode) -> int:
    found = [
        line.split()[-1]
        for line in node.api.request("GET", "/metrics").body.decode().splitlines()
        if line.startswith('huzhu_http_requests_total{route="malformed",status="400"}')
    ]
    return int(float(found[0]))


def test_connections_that_say_nothing_or_stop_in_the_middle_keep_nobody_waiting(
    four: LiveNetwork, node: LiveNode
) -> None:
    silent = [socket.create_connection((node.api.host, node.api.port), timeout=10) for _ in range(100)]
    try:
        for connection in silent[:50]:
            connection.sendall(b"POST /v1/transactions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n\x96")
        started = time.monotonic()
        four.commit_one(node)
        assert time.monotonic() - started < 5
    finally:
        for connection in silent:
            connection.close()


def test_a_crowd_of_silent_connections_keeps_nobody_out(four: LiveNetwork) -> None:
    watcher, most = four.nodes["regulator-2"], 8
    watcher.settings["api.connections_max"] = most
    silent: list[socket.socket] = []
    try:
        four.up([watcher.name])
        for _ in range(20 * most):
            silent.append(socket.create_connection((watcher.api.host, watcher.api.port), timeout=10))
            silent[-1].sendall(b"GET /v1/status HTTP/1.1\r\nHos")
        four.commit_one(watcher)
        until(lambda: connections(watcher) <= most, 5, "those that were too many are closed")
    finally:
        for connection in silent:
            connection.close()
        del watcher.settings["api.connections_max"]
        watcher.stop()


def connections(node: LiveNode) -> int:
    """TCP connections that the kernel holds open with the node's API (state 01), its own side of them."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{node.api.port:04X}") and row[3] == "01" for row in rows)


def test_a_node_that_may_not_have_the_files_it_needs_does_not_start(four: LiveNetwork) -> None:
    watcher = four.nodes["regulator-2"]
    watcher.prefix = ["bash", "-c", 'ulimit -n 2000; exec "$@"', "limited"]
    try:
        watcher.start()
        assert watcher.wait(READY_SECONDS) == Exit.CONFIGURATION.value
    finally:
        watcher.prefix = []
    assert "FILE_LIMIT" in watcher.log_tail()
    assert "3560 files may be open at once, and this process is allowed 2000" in watcher.log_tail()


# ---- what every answer is ------------------------------------------------------------------------------------------


def test_a_refusal_is_a_problem_that_says_what_and_why(node: LiveNode) -> None:
    answer: Answer = node.api.submit(b"\xc1")
    found: dict[str, Any] = json.loads(answer.body)
    assert answer.headers["content-type"].startswith(PROBLEM)
    assert set(found) >= {"type", "title", "status", "code", "detail", "id"}
    assert found["id"] == transaction_id(b"\xc1").hex()


def test_a_list_left_without_waiting_is_executed_all_the_same(four: LiveNetwork, node: LiveNode) -> None:
    raws = [four.enrolment() for _ in range(5)]
    answer = node.api.submit_many(raws, wait="none")
    assert (answer.status, {item["status"] for item in answer.json()["transactions"]}) == (202, {"received"})
    for raw in raws:
        path = f"{TRANSACTIONS}/{transaction_id(raw).hex()}"

        def executed(path: str = path) -> bool:
            answer = node.api.request("GET", path)
            return answer.status == 200 and answer.json()["status"] == "committed"

        until(executed, 15, f"{path} is committed")
