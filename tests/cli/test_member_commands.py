"""Members: keys, suspension, death, what they see, against a node that decides what it is sent."""

from node.keys import KeyKind
from tests.cli.consortium_kit import Desk
from tests.ledger.chain import key
from tests.ledger.claim_kit import person


def test_members_rotate_their_keys_are_suspended_and_die(at: Desk) -> None:
    assert at.say("member list --limit 2")["next"] == 1
    at.as_("person 1", f"member rotate-key {person(1)} --new-key", at.key("person 1 again", KeyKind.MEMBER))
    assert at.say(f"member show {person(1)}")["own_key"] == key("person 1 again").hex()
    assert at.refused("person 1", f"member exit {person(1)}") == "UNKNOWN_SIGNER"
    recovery = at.as_("platform", f"member rotate-key {person(2)} --new-key {key('found').hex()}")
    assert recovery["acts_from_ms"] > 0
    at.as_("platform", "member suspend 8")
    assert at.say("member show 8")["state"] == "SUSPENDED"
    at.as_("regulator", "member lift 8")
    at.as_("regulator", "member expel 8")
    assert at.refused("regulator", "member expel 8") == "NOT_A_CURRENT_MEMBER"
    assert at.as_("platform", "member report-death 9 --day 2019-02-20")["refund_fen"] == 0
    assert at.refused("platform", "member report-death 9 --day soon", code=2) == "USAGE"
    assert at.refused("bank", "member contribute 10 --period 28 --amount-fen 5 --reference c") == "UNKNOWN_PERIOD"
