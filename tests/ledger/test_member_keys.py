"""Members' own keys: rotation at once, recovery after a delay that the owner can use."""

from hashlib import sha256

from ledger import calendar
from ledger import transactions as tx
from ledger.indexes import differences
from ledger.member_keys import RECOVERY_DAYS, key_of
from tests.ledger.chain import Chain, key
from tests.ledger.test_life import BIRTH_MONTH


def joined() -> Chain:
    chain = Chain()
    for number, name in enumerate(("alice", "bob")):
        identity = sha256(name.encode()).digest()
        assert chain.ok(name, tx.Enrol(0, identity, BIRTH_MONTH, key(name)))[0] == number
    return chain


def days(chain: Chain, number: int) -> None:
    chain.step_to(chain.now_ms + number * calendar.MS_PER_DAY)


def test_the_owner_rotates_at_once_and_the_old_key_acts_no_more() -> None:
    chain = joined()
    assert chain.ok("alice", tx.RotateMemberKey(0, key("alice 2"))) == (0,)
    assert chain.refused("alice", tx.Exit(0)) == "UNKNOWN_SIGNER"
    chain.ok("alice 2", tx.Exit(0))
    assert list(differences(chain.store)) == []


def test_a_key_belongs_to_one_member_for_ever() -> None:
    chain = joined()
    chain.ok("alice", tx.RotateMemberKey(0, key("alice 2")))
    for taken in ("alice", "alice 2", "bank"):
        assert chain.refused("bob", tx.RotateMemberKey(1, key(taken))) == "KEY_IN_USE"
    assert chain.refused("alice 2", tx.RotateMemberKey(0, key("alice"))) == "KEY_IN_USE"
    assert chain.refused("bob", tx.RotateMemberKey(1, bytes(31))) == "BAD_FIELD"
    assert chain.refused("bob", tx.RotateMemberKey(0, key("bob 2"))) == "NOT_PERMITTED"
    assert chain.refused("platform", tx.RotateMemberKey(2, key("bob 2"))) == "UNKNOWN_MEMBER"


def test_the_platform_recovers_a_lost_key_after_the_delay() -> None:
    chain = joined()
    (since,) = chain.ok("platform", tx.RotateMemberKey(0, key("alice 2")))
    assert chain.refused("alice 2", tx.Exit(0)) == "UNKNOWN_SIGNER"
    days(chain, RECOVERY_DAYS - 1)
    assert key_of(chain.state, 0, since - 1) == key("alice")
    assert key_of(chain.state, 0, since) == key("alice 2")
    assert chain.refused("alice 2", tx.Exit(0)) == "UNKNOWN_SIGNER"
    days(chain, 1)
    assert chain.refused("alice", tx.Exit(0)) == "UNKNOWN_SIGNER"
    chain.ok("alice 2", tx.Exit(0))


def test_the_owner_puts_a_recovery_aside_by_signing() -> None:
    chain = joined()
    chain.ok("platform", tx.RotateMemberKey(0, key("thief")))
    chain.ok("alice", tx.RotateMemberKey(0, key("alice")))
    days(chain, RECOVERY_DAYS + 1)
    assert chain.refused("thief", tx.Exit(0)) == "UNKNOWN_SIGNER"
    chain.ok("alice", tx.Exit(0))
    assert list(differences(chain.store)) == []


def test_a_custodial_member_gets_a_key_after_the_delay() -> None:
    chain = joined()
    chain.ok("platform", tx.Enrol(0, bytes(32), BIRTH_MONTH, b""))
    chain.ok("platform", tx.RotateMemberKey(2, key("carol")))
    assert chain.refused("carol", tx.Exit(2)) == "UNKNOWN_SIGNER"
    days(chain, RECOVERY_DAYS)
    chain.ok("carol", tx.Exit(2))
