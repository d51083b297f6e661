"""Messages of synchronisation: what goes in comes out, limits hold to the byte, and no bytes do harm."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import PeerError
from ledger.limits import BLOCK_BODY_BYTES_MAX, CERTIFICATE_BYTES_MAX, HEADER_BYTES_MAX
from ledger.votes import Certificate, Seal
from node.wire import (
    BLOCKS_PER_ANSWER_MAX,
    HEIGHT_MAX,
    Blocks,
    GetBlocks,
    Head,
    RawBlock,
    decode_answer,
    decode_head,
    decode_question,
    encode_wire,
)

HASH = bytes(range(32))
ASKED = GetBlocks(1, 1_000)


def head(height: int = 7, **changes: object) -> Head:
    values = {"height": height, "hash": HASH, "certificate": Certificate(height, 0, HASH, (Seal(0, b"s" * 64),))}
    return Head(**(values | changes))  # type: ignore[arg-type]


def answer(*blocks: RawBlock) -> bytes:
    return encode_wire(Blocks(blocks))


def refused(action: Callable[[], object]) -> None:
    with pytest.raises(PeerError) as error:
        action()
    assert error.value.code == "MALFORMED"


def test_messages_come_back_as_they_went() -> None:
    assert decode_head(encode_wire(head())) == head()
    assert decode_question(encode_wire(ASKED)) == ASKED
    block = RawBlock(b"h", b"b", b"c")
    assert decode_answer(answer(block, block), ASKED) == (block, block)


@pytest.mark.parametrize(
    "bad",
    [
        head(-1),
        head(HEIGHT_MAX + 1),
        head(hash=HASH[:31]),
        head(certificate=Certificate(6, 0, HASH, ())),
        head(certificate=Certificate(7, 0, bytes(32), ())),
    ],
)
def test_a_head_that_contradicts_itself_is_refused(bad: Head) -> None:
    refused(lambda: decode_head(encode_wire(bad)))


@pytest.mark.parametrize("bad", [GetBlocks(0, 1), GetBlocks(2, 1), GetBlocks(1, HEIGHT_MAX + 1)])
def test_a_question_out_of_range_is_refused(bad: GetBlocks) -> None:
    refused(lambda: decode_question(encode_wire(bad)))


def test_an_answer_has_from_one_block_to_the_most_allowed_and_never_more_than_asked() -> None:
    block = RawBlock(b"", b"", b"")
    refused(lambda: decode_answer(answer(), ASKED))
    assert len(decode_answer(answer(*[block] * BLOCKS_PER_ANSWER_MAX), ASKED)) == BLOCKS_PER_ANSWER_MAX
    refused(lambda: decode_answer(answer(*[block] * (BLOCKS_PER_ANSWER_MAX + 1)), ASKED))
    refused(lambda: decode_answer(answer(block, block), GetBlocks(5, 5)))


@pytest.mark.parametrize(
    ("field", "bytes_max"),
    [("header", HEADER_BYTES_MAX), ("body", BLOCK_BODY_BYTES_MAX), ("certificate", CERTIFICATE_BYTES_MAX)],
)
def test_each_part_of_a_block_is_bounded(field: str, bytes_max: int) -> None:
    parts = {"header": b"", "body": b"", "certificate": b""}
    assert decode_answer(answer(RawBlock(**(parts | {field: bytes(bytes_max)}))), ASKED)
    refused(lambda: decode_answer(answer(RawBlock(**(parts | {field: bytes(bytes_max + 1)}))), ASKED))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 100), st.integers(0, 255))
def test_any_bytes_are_a_message_or_a_peer_error(noise: bytes, at: int, value: int) -> None:
    altered = bytearray(encode_wire(head()))
    altered[at % len(altered)] = value
    for raw in (noise, bytes(altered)):
        for decode in (decode_head, decode_question, lambda raw: decode_answer(raw, ASKED)):
            try:
                decode(raw)
            except PeerError as error:
                assert error.code == "MALFORMED"
