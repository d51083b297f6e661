"""An organisation's own nodes: replaced at once, by itself alone, and never another's key (DESIGN §3)."""

import pytest
from msgspec.structs import replace

from ledger import transactions as tx
from ledger.nodes import NODES_MAX
from ledger.rows import Organisation
from tests.ledger.chain import Chain, key

BANK = 1
REGULATOR = 5
PLACE = "node.bank.example:7040"


def fresh(number: int) -> bytes:
    return bytes([number]) * 32


def test_an_organisation_changes_its_nodes_and_nothing_else_of_it() -> None:
    chain = Chain()
    before = chain.state.get(Organisation, BANK)
    old = before.node_keys
    assert len(old) == 1
    assert chain.ok("bank", tx.SetNodes((*old, fresh(7)), PLACE)) == (BANK,)
    assert chain.state.get(Organisation, BANK) == replace(before, node_keys=(*old, fresh(7)), address=PLACE)
    assert chain.ok("bank", tx.SetNodes((fresh(7),), "")) == (BANK,)
    assert chain.state.get(Organisation, BANK) == replace(before, node_keys=(fresh(7),), address="")
    assert chain.ok("platform", tx.SetNodes(old, "")) == (0,), "what a node gave up is free"


def test_a_key_of_somebody_else_or_of_another_kind_is_refused() -> None:
    chain = Chain()
    (theirs,) = chain.state.get(Organisation, 0).node_keys
    seat = chain.view.validators[0]
    chain.ok("member", tx.Enrol(0, bytes(32), 1990 * 12, key("member")))
    for taken in (theirs, key("platform"), key("bank"), key("member"), seat.validator_key, seat.beacon_key):
        assert chain.refused("bank", tx.SetNodes((fresh(7), taken), PLACE)) == "KEY_IN_USE"


@pytest.mark.parametrize(
    ("node_keys", "address"),
    [
        ((fresh(7)[:-1],), PLACE),
        ((fresh(7) + b"x",), PLACE),
        ((bytes(32),), PLACE),
        ((fresh(7), fresh(7)), PLACE),
        (tuple(fresh(number) for number in range(1, NODES_MAX + 2)), PLACE),
        ((fresh(7),), "nowhere"),
        ((fresh(7),), "a" * 300 + ":1"),
        ((), ""),
    ],
)
def test_what_is_no_set_of_nodes_is_refused(node_keys: tuple[bytes, ...], address: str) -> None:
    assert Chain().refused("bank", tx.SetNodes(node_keys, address)) == "BAD_FIELD"


def test_as_many_as_allowed_are_taken_and_who_has_no_seat_may_have_none() -> None:
    chain = Chain()
    chain.ok("bank", tx.SetNodes(tuple(fresh(number) for number in range(1, NODES_MAX + 1)), ""))
    assert chain.ok("regulator", tx.SetNodes((), "")) == (REGULATOR,)
    assert chain.state.get(Organisation, REGULATOR).node_keys == ()
