"""Every field of a header and every rule of a body, violated alone, has its own code (DESIGN §2)."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from ledger import beacon
from ledger import transactions as tx
from ledger.blocks import Body, Evidence, Header, RecoveryRecord, SignedVote, certificate_hash, evidence_root, txs_root
from ledger.codec import encode
from ledger.errors import BLOCK_CODES, InvariantViolation, PeerError
from ledger.limits import BLOCK_BODY_BYTES_MAX, BLOCK_TRANSACTIONS_MAX, VALIDITY_WINDOW_MS
from ledger.transactions import decode_transaction, transaction_id
from ledger.validity import check_body, check_header, restored_view
from ledger.votes import Certificate, Prepare, Seal
from tests.ledger.chain import GENESIS_MS, Chain, key, seed

HASH = bytes(range(32))


def chain_of_two() -> Chain:
    chain = Chain()
    chain.block()
    chain.block(("platform", tx.Enrol(0, HASH, 1990 * 12, b"")))
    return chain


CHAIN = chain_of_two()
RAW = CHAIN.transaction("platform", tx.Exit(0))


def header_code(header: Header, raw: bytes | None = None) -> str:
    with pytest.raises(PeerError) as caught:
        check_header(CHAIN.view, header, encode(header) if raw is None else raw)
    assert caught.value.code in BLOCK_CODES
    return caught.value.code


def body_code(header: Header, body: Body, *, body_bytes: int | None = None) -> str:
    transactions = [(transaction_id(raw), decode_transaction(raw)) for raw in body.transactions]
    with pytest.raises(PeerError) as caught:
        size = len(encode(body)) if body_bytes is None else body_bytes
        check_body(CHAIN.view, header, body, transactions, body_bytes=size)
    assert caught.value.code in BLOCK_CODES
    return caught.value.code


def proposed(*raws: bytes) -> tuple[Header, Body]:
    header, body, transactions = CHAIN.propose(raws)
    check_header(CHAIN.view, header, encode(header))
    check_body(CHAIN.view, header, body, transactions, body_bytes=len(encode(body)))
    return header, body


def other_beacon(header: Header) -> dict[str, Any]:
    """A valid proof of another validator, or of another height."""
    name = "bank" if header.creator != key("bank validator") else "platform"
    proof = beacon.prove(seed(f"{name} beacon"), beacon.alpha(CHAIN.view.header.beacon, header.height))
    return {"beacon": beacon.proof_to_hash(proof), "beacon_proof": proof}


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("WRONG_PROTOCOL_VERSION", lambda header: {"version": 2}),
        ("WRONG_EPOCH", lambda header: {"epoch": 1}),
        ("WRONG_HEIGHT", lambda header: {"height": header.height + 1}),
        ("WRONG_HEIGHT", lambda header: {"height": header.height - 1}),
        ("WRONG_PARENT", lambda header: {"parent": HASH}),
        ("TIME_NOT_ABOVE_PARENT", lambda header: {"time_ms": CHAIN.view.header.time_ms}),
        ("TIME_NOT_ABOVE_PARENT", lambda header: {"time_ms": GENESIS_MS}),
        ("UNKNOWN_CREATOR", lambda header: {"creator": key("hospital")}),
        ("WRONG_TX_COUNT", lambda header: {"tx_count": -1}),
        ("WRONG_TX_COUNT", lambda header: {"tx_count": BLOCK_TRANSACTIONS_MAX + 1}),
        ("WRONG_VALIDATORS_HASH", lambda header: {"validators_hash": HASH}),
        ("WRONG_NEXT_VALIDATORS_HASH", lambda header: {"next_validators_hash": HASH}),
        ("WRONG_PARAMS_HASH", lambda header: {"params_hash": HASH}),
        ("WRONG_STATE_ROOT", lambda header: {"state_root": HASH}),
        ("WRONG_RECEIPTS_ROOT", lambda header: {"receipts_root": HASH}),
        ("BAD_BEACON", lambda header: {"beacon": bytes(64)}),
        ("BAD_BEACON", lambda header: {"beacon_proof": b""}),
        ("BAD_BEACON", lambda header: {"beacon_proof": bytes(80)}),
        ("BAD_BEACON", other_beacon),
        ("HEADER_MALFORMED", lambda header: {"txs_root": b""}),
        ("HEADER_MALFORMED", lambda header: {"evidence_root": bytes(33)}),
        ("HEADER_MALFORMED", lambda header: {"parent_certificate_hash": bytes(31)}),
        ("HEADER_MALFORMED", lambda header: {"beacon_proof": bytes(2_048)}),
    ],
)
def test_a_header_with_one_wrong_field_is_refused_by_its_own_code(
    code: str, change: Callable[[Header], dict[str, Any]]
) -> None:
    header, _ = proposed()
    assert header_code(replace(header, **change(header))) == code


def test_a_header_counts_by_the_bytes_received() -> None:
    header, _ = proposed()
    assert header_code(header, encode(header) + b"\x00") == "HEADER_MALFORMED"
    assert header_code(header, encode(replace(header, tx_count=1))) == "HEADER_MALFORMED"


def test_one_millisecond_above_the_parent_is_enough() -> None:
    header, _, _ = CHAIN.propose(time_ms=CHAIN.view.header.time_ms + 1)
    check_header(CHAIN.view, header, encode(header))


def test_a_body_that_is_not_the_headers_is_refused() -> None:
    header, body = proposed(RAW)
    assert body_code(header, replace(body, transactions=())) == "WRONG_TX_COUNT"
    other = CHAIN.transaction("platform", tx.Exit(0))
    assert body_code(header, replace(body, transactions=(other,))) == "WRONG_TXS_ROOT"


def test_a_transaction_stands_once_in_a_block() -> None:
    header, body = proposed(RAW)
    ids = [transaction_id(RAW)] * 2
    twice = replace(header, tx_count=2, txs_root=txs_root(ids))
    assert body_code(twice, replace(body, transactions=(RAW, RAW))) == "DUPLICATE_TRANSACTION"


@pytest.mark.parametrize(
    ("offset_ms", "code"),
    [
        (-1, "TRANSACTION_EXPIRED"),
        (0, None),
        (VALIDITY_WINDOW_MS, None),
        (VALIDITY_WINDOW_MS + 1, "TRANSACTION_NOT_YET_VALID"),
    ],
)
def test_a_transaction_is_valid_from_ten_minutes_before_to_its_last_millisecond(
    offset_ms: int, code: str | None
) -> None:
    raw = CHAIN.transaction("platform", tx.Exit(0), valid_until_ms=CHAIN.next_time_ms + offset_ms)
    header, body, transactions = CHAIN.propose([raw])
    if code is None:
        check_body(CHAIN.view, header, body, transactions, body_bytes=len(encode(body)))
    else:
        assert body_code(header, body) == code


def test_a_body_may_have_four_mebibytes_and_no_byte_more() -> None:
    header, body = proposed()
    check_body(CHAIN.view, header, body, [], body_bytes=BLOCK_BODY_BYTES_MAX)
    assert body_code(header, body, body_bytes=BLOCK_BODY_BYTES_MAX + 1) == "BODY_TOO_LARGE"


def test_the_header_binds_the_evidence_and_a_recovery_stands_only_where_an_epoch_begins() -> None:
    header, body = proposed()
    vote = SignedVote(Prepare(1, 0, HASH), 0, bytes(64))
    evidence = (Evidence(0, vote, vote),)
    assert body_code(header, replace(body, evidence=evidence)) == "BAD_EVIDENCE"
    assert body_code(replace(header, evidence_root=evidence_root(evidence)), body) == "WRONG_EVIDENCE_ROOT"
    recovery = RecoveryRecord(HASH, 1, 1, HASH, (), ())
    assert body_code(header, replace(body, recovery=recovery)) == "UNEXPECTED_RECOVERY"


def certified(certificate: Certificate) -> tuple[Header, Body]:
    """A block whose header is right about a given certificate of its parent."""
    header, body = proposed()
    header = replace(header, parent_certificate_hash=certificate_hash(certificate))
    return header, replace(body, parent_certificate=certificate)


def test_the_parents_certificate_must_be_the_one_the_header_names() -> None:
    header, body = proposed()
    assert body_code(replace(header, parent_certificate_hash=HASH), body) == "WRONG_CERTIFICATE_HASH"


def bad_certificates() -> list[tuple[str, Certificate]]:
    good = CHAIN.certificate
    first, *rest = good.seals
    forged = Seal(first.index, bytes(64))
    return [
        ("another height", replace(good, height=good.height - 1)),
        ("another block", replace(good, block_hash=HASH)),
        ("another round than was signed", replace(good, round=good.round + 1)),
        ("below the quorum", replace(good, seals=good.seals[:-1])),
        ("no seals", replace(good, seals=())),
        ("a seal twice", replace(good, seals=(first, first, *rest[1:]))),
        ("not ascending", replace(good, seals=(*rest, first))),
        ("a forged seal", replace(good, seals=(forged, *rest))),
        ("an index outside the set", replace(good, seals=(*good.seals[:-1], Seal(4, good.seals[-1].signature)))),
        ("a seal of another index", replace(good, seals=(*good.seals[:-1], Seal(3, good.seals[-1].signature)))),
        ("the genesis certificate", Certificate(0, 0, CHAIN.blocks[0].header.parent, ())),
    ]


@pytest.mark.parametrize(("what", "certificate"), bad_certificates())
def test_an_invalid_certificate_of_the_parent_is_refused(what: str, certificate: Certificate) -> None:
    assert body_code(*certified(certificate)) == "BAD_PARENT_CERTIFICATE", what


def test_any_valid_certificate_of_the_parent_is_accepted() -> None:
    header, body = proposed()
    chain = CHAIN.fork()
    other = replace(chain.certificate, seals=chain.certificate.seals[:3])
    header, body = certified(other)
    check_body(CHAIN.view, header, body, [], body_bytes=len(encode(body)))


def test_a_block_that_leaves_deadlines_behind_carries_no_transactions() -> None:
    header, body = proposed(RAW)
    transactions = [(transaction_id(RAW), decode_transaction(RAW))]
    now = CHAIN.view.ledger_time(header.time_ms)
    for backlog, refused in ((None, False), (now + 1, False), (now, True), (now - 1, True)):
        view = CHAIN.view.__class__(**{**_fields(CHAIN.view), "backlog_ms": backlog})
        if refused:
            with pytest.raises(PeerError) as caught:
                check_body(view, header, body, transactions, body_bytes=1)
            assert caught.value.code == "TRANSACTIONS_BEFORE_DEADLINES"
            empty = replace(header, tx_count=0, txs_root=txs_root([]))
            check_body(view, empty, replace(body, transactions=()), [], body_bytes=1)
        else:
            check_body(view, header, body, transactions, body_bytes=1)


def _fields(view: Any) -> dict[str, Any]:
    return {name: getattr(view, name) for name in view.__slots__}


def test_the_caller_must_have_decoded_every_transaction() -> None:
    header, body = proposed(RAW)
    with pytest.raises(InvariantViolation):
        check_body(CHAIN.view, header, body, [], body_bytes=1)


def test_a_view_restored_from_the_store_is_the_one_that_execution_left() -> None:
    chain, view = CHAIN, CHAIN.view
    restored = restored_view(
        chain.store,
        chain_id=view.chain_id,
        params=view.params,
        header=view.header,
        header_raw=encode(view.header),
        parent_header=chain.blocks[-2].header,
        validators=view.validators,
        next_validators=view.next_validators,
        state_root=view.state_root,
        receipts_root=view.receipts_root,
        recent_sets=view.recent_sets,
    )
    assert restored == view
    with pytest.raises(InvariantViolation):
        restored_view(
            chain.store,
            chain_id=view.chain_id,
            params=view.params,
            header=view.header,
            header_raw=encode(view.header),
            parent_header=chain.blocks[-2].header,
            validators=view.validators[:3],
            next_validators=view.next_validators,
            state_root=view.state_root,
            receipts_root=view.receipts_root,
            recent_sets=view.recent_sets,
        )
