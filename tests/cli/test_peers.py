"""What an operator is told to do about a peer: never "nothing" of one that only answers for an application."""

import pytest

from cli.peers import ADVICE, what_next
from p2p.reasons import REASONS

ADDRESS = ["127.0.0.1", 7_040]


@pytest.mark.parametrize(
    ("connected", "status_only", "address", "code", "says"),
    [
        (True, False, ADDRESS, "UNREACHABLE", "nothing to do"),
        (True, True, ADDRESS, "UNKNOWN_PEER", "huzhu join status"),
        (True, True, None, None, "huzhu gov list"),
        (False, False, None, None, "p2p.peers"),
        (False, False, ADDRESS, "WRONG_CHAIN", "chain ids differ"),
        (False, False, ADDRESS, None, "dialled again by itself"),
    ],
)
def test_what_an_operator_does_depends_on_the_link_first(
    connected: bool, status_only: bool, address: list[object] | None, code: str | None, says: str
) -> None:
    peer = {"connected": connected, "status_only": status_only, "address": address}
    assert says in what_next(peer, code)


def test_advice_is_given_for_reasons_that_exist() -> None:
    assert set(ADVICE) <= set(REASONS)
