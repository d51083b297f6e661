"""The clear hello: what differs is told as ours and theirs, and nothing else passes for one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import PeerError
from ledger.protocol import NEWEST, OLDEST
from p2p.hello import HEAD_BYTES, MAGIC, Hello, agree, body_bytes, parse
from p2p.limits import AGENT_BYTES_MAX, HELLO_BODY_BYTES_MAX

CHAIN = bytes(range(32))
OTHER = bytes(32)


@settings(max_examples=60, deadline=None)
@given(
    st.binary(min_size=32, max_size=32),
    st.integers(1, 0xFFFF),
    st.integers(1, 0xFFFF),
    st.text(max_size=AGENT_BYTES_MAX // 4),
)
def test_a_hello_is_read_as_it_was_said(chain_id: bytes, one: int, two: int, agent: str) -> None:
    hello = Hello(chain_id, min(one, two), max(one, two), agent)
    raw = hello.encode()
    assert body_bytes(raw[:HEAD_BYTES]) == len(raw) - HEAD_BYTES
    assert parse(raw) == hello


def test_fields_a_later_version_appends_are_ignored() -> None:
    hello = Hello(CHAIN, 1, 3, "huzhu/9")
    body = hello.encode()[HEAD_BYTES:] + b"news"
    assert parse(MAGIC + len(body).to_bytes(2, "big") + body) == hello


@pytest.mark.parametrize(
    ("ours", "theirs", "version"),
    [((1, 1), (1, 1), 1), ((1, 4), (2, 3), 3), ((2, 9), (1, 2), 2), ((1, 2), (2, 7), 2)],
)
def test_the_highest_common_version_is_agreed(ours: tuple[int, int], theirs: tuple[int, int], version: int) -> None:
    assert agree(Hello(CHAIN, *ours), Hello(CHAIN, *theirs)) == version
    assert agree(Hello(CHAIN, *theirs), Hello(CHAIN, *ours)) == version


def test_both_sides_read_the_same_difference_of_chains_each_from_its_end() -> None:
    one, two = Hello(CHAIN, 1, 1), Hello(OTHER, 1, 1)
    with pytest.raises(PeerError) as ours:
        agree(one, two)
    with pytest.raises(PeerError) as theirs:
        agree(two, one)
    assert ours.value.code == theirs.value.code == "WRONG_CHAIN"
    assert ours.value.detail == f"ours {CHAIN.hex()}, theirs {OTHER.hex()}"
    assert theirs.value.detail == f"ours {OTHER.hex()}, theirs {CHAIN.hex()}"


def test_an_old_and_a_new_program_speak_the_older_version_with_each_other() -> None:
    old, new, newer = Hello(CHAIN, OLDEST, OLDEST), Hello(CHAIN, OLDEST, NEWEST), Hello(CHAIN, OLDEST, NEWEST + 1)
    assert agree(old, new) == agree(new, old) == agree(old, newer) == OLDEST
    assert agree(new, new) == agree(new, newer) == NEWEST


def test_ranges_that_do_not_meet_are_a_mismatch_on_both_sides() -> None:
    one, two = Hello(CHAIN, 1, 2), Hello(CHAIN, 3, 4)
    for ours, theirs, told in ((one, two, "ours 1..2, theirs 3..4"), (two, one, "ours 3..4, theirs 1..2")):
        with pytest.raises(PeerError) as caught:
            agree(ours, theirs)
        assert (caught.value.code, caught.value.detail) == ("PROTOCOL_MISMATCH", told)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80) | st.binary(max_size=600).map(lambda b: MAGIC + len(b).to_bytes(2, "big") + b))
def test_any_bytes_are_a_hello_or_not_huzhu(raw: bytes) -> None:
    try:
        hello = parse(raw)
    except PeerError as error:
        assert error.code == "NOT_HUZHU"
    else:
        assert 0 < hello.protocol_min <= hello.protocol_max
        assert len(raw) <= HEAD_BYTES + HELLO_BODY_BYTES_MAX


def test_a_hello_may_be_as_long_as_the_limit_and_no_longer() -> None:
    for length, fine in ((HELLO_BODY_BYTES_MAX, True), (HELLO_BODY_BYTES_MAX + 1, False), (36, False), (37, True)):
        head = MAGIC + length.to_bytes(2, "big")
        if fine:
            assert body_bytes(head) == length
        else:
            with pytest.raises(PeerError, match="NOT_HUZHU"):
                body_bytes(head)


def test_the_agent_may_be_as_long_as_the_limit_and_no_longer() -> None:
    assert parse(Hello(CHAIN, 1, 1, "a" * AGENT_BYTES_MAX).encode()).agent == "a" * AGENT_BYTES_MAX
    with pytest.raises(ValueError, match="agent"):
        Hello(CHAIN, 1, 1, "a" * (AGENT_BYTES_MAX + 1))


def test_an_http_request_is_not_huzhu() -> None:
    with pytest.raises(PeerError) as caught:
        parse(b"GET / HTTP/1.1\r\n\r\n")
    assert caught.value.code == "NOT_HUZHU"
    assert MAGIC.hex() in caught.value.detail
