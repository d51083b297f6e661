"""An organisation's own key: one atomic replacement, by itself or by the others (DESIGN §3)."""

from typing import Any

import pytest

from ledger import transactions as tx
from ledger.actions import ReplaceKey, SetOrganisation
from ledger.indexes import differences
from ledger.organisations import OrganisationState
from ledger.rows import Organisation
from ledger.transactions import decode_transaction, transaction_id
from tests.ledger.chain import ORGANISATIONS, Chain, key
from tests.ledger.test_governance import enacted, five, refused, with_sixth

BANK = 1


def test_a_rotated_key_acts_from_the_next_transaction_on_and_the_old_one_is_unknown() -> None:
    chain = Chain()
    lend = tx.Advance(0, 5, False, b"a")
    block = chain.block(
        ("bank", tx.Advance(0, 5, False, b"before")),
        ("bank", tx.RotateKey(key("bank again"))),
        ("bank", tx.Advance(0, 5, False, b"after")),
        ("bank again", lend),
    )
    assert block.codes == ["OK", "OK", "UNKNOWN_SIGNER", "OK"]
    assert chain.state.get(Organisation, BANK).key == key("bank again")
    assert chain.refused("bank", tx.RotateKey(key("bank third"))) == "UNKNOWN_SIGNER"
    assert chain.ok("bank again", tx.RotateKey(key("bank third"))) == (BANK,)
    assert list(differences(chain.store)) == []


def test_what_the_old_key_signed_before_and_is_executed_later_is_refused() -> None:
    chain = Chain()
    early = chain.transaction("bank", tx.Advance(0, 5, False, b"signed in time"))
    chain.ok("bank", tx.RotateKey(key("bank again")))
    assert chain.raw_block([early]).codes == ["UNKNOWN_SIGNER"]
    assert transaction_id(early) != b""
    assert decode_transaction(early).signer == key("bank")


def test_the_set_announced_two_blocks_later_carries_the_new_key_and_the_seat_stays() -> None:
    chain = Chain()
    seat = chain.view.validators[BANK]
    chain.ok("bank", tx.RotateKey(key("bank again")))
    assert chain.view.next_validators[BANK].organisation_key == key("bank")
    after = chain.view.after_next_validators[BANK]
    assert after.organisation_key == key("bank again")
    assert (after.seat, after.validator_key, after.beacon_key) == (seat.seat, seat.validator_key, seat.beacon_key)
    for _ in range(6):
        chain.block()
    assert chain.view.validators[BANK] == after


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (b"short", "BAD_FIELD"),
        (b"\xff" * 32, "BAD_FIELD"),
        (key("bank"), "KEY_IN_USE"),
        (key("platform"), "KEY_IN_USE"),
        (key("firm-a validator"), "KEY_IN_USE"),
        (key("firm-a beacon"), "KEY_IN_USE"),
        (key("a member"), "KEY_IN_USE"),
    ],
)
def test_the_new_key_is_a_key_and_nobodys(given: bytes, code: str) -> None:
    chain = Chain()
    chain.ok("a member", tx.Enrol(0, bytes(32), 23_900, key("a member")))
    assert chain.refused("bank", tx.RotateKey(given)) == code


def test_a_nodes_key_is_no_organisations_key() -> None:
    chain = with_sixth()
    assert chain.refused("platform", tx.RotateKey(key("sixth node"))) == "KEY_IN_USE"


def test_a_suspended_organisation_rotates_nothing_and_a_member_has_his_own_way() -> None:
    chain = five()
    enacted(chain, SetOrganisation(6, int(OrganisationState.SUSPENDED)))
    assert chain.refused("fifth", tx.RotateKey(key("x"))) == "SIGNER_SUSPENDED"
    chain.ok("a member", tx.Enrol(0, bytes(32), 23_900, key("a member")))
    assert chain.refused("a member", tx.RotateKey(key("x"))) == "NOT_PERMITTED"


def test_a_lost_key_is_replaced_by_the_others() -> None:
    chain = five()
    enacted(chain, ReplaceKey(6, key("found")))
    assert chain.refused("fifth", tx.Advance(0, 5, False, b"a")) == "UNKNOWN_SIGNER"
    chain.ok("found", tx.Advance(0, 5, False, b"a"))
    for wrong, code in ((ReplaceKey(99, key("y")), "UNKNOWN_ORGANISATION"), (ReplaceKey(6, b""), "BAD_FIELD")):
        assert refused(chain, wrong) == code


def test_an_organisation_that_was_removed_gets_no_key() -> None:
    chain = five()
    hospital = next(at for at, found in enumerate(ORGANISATIONS) if found.name == "hospital")
    enacted(chain, SetOrganisation(hospital, int(OrganisationState.REMOVED)))
    action: Any = ReplaceKey(hospital, key("y"))
    assert refused(chain, action) == "NOTHING_TO_DECIDE"
