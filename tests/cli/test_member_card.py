"""A member's card and his own claim's proof, from the command line, against a node that decides what it is sent."""

import json
from pathlib import Path

import pytest

from ledger.member_card import MemberCard, Opening, parse_member_card
from ledger.proofs import verify
from ledger.tables import Table, row_key
from node.keys import KeyKind
from tests.cli.consortium_kit import Desk, filed
from tests.ledger.claim_kit import person
from tests.running import run

PERSON = ("--person", "110101 A")


def enrolled(at: Desk, *more: str) -> dict[str, object]:
    """The answer of the platform's enrolment of a person with a card."""
    key = at.key("identity", KeyKind.IDENTITY)
    found: dict[str, object] = at.as_(
        "platform", "member enrol --birth-month 1990-05", *PERSON, "--identity-key", key, *more
    )
    at.node.commit()
    at.node.commit()
    return found


def test_on_enrolment_he_gets_a_card_with_the_hash_of_the_genesis(at: Desk, tmp_path: Path) -> None:
    out = tmp_path / "card"
    done = enrolled(at, "--card", str(out))
    card = parse_member_card(out.read_bytes())
    assert (card.plan, card.member, card.identity.hex()) == (0, done["member"], done["identity"])
    assert card.chain_id.hex() == done["chain_id"] == at.say("status")["chain_id"]
    assert isinstance(card.opening, Opening)
    assert card.opening.person == PERSON[1]
    assert out.stat().st_mode & 0o077 == 0, "it is for him alone"
    again = tmp_path / "again"
    key = at.key("identity")
    at.say(f"member card {card.member}", "--out", str(again), *PERSON, "--identity-key", key)
    assert again.read_bytes() == out.read_bytes()


def test_the_same_person_is_not_enrolled_twice(at: Desk) -> None:
    enrolled(at)
    arguments = (*PERSON, "--identity-key", at.key("identity"))
    assert at.refused("platform", "member enrol --birth-month 1990-05", *arguments) == "DUPLICATE_MEMBER"


def test_a_card_without_an_opening_says_what_the_row_says(at: Desk, tmp_path: Path) -> None:
    out = tmp_path / "card"
    assert at.say("member card 3", "--out", str(out))["opened"] is False
    card = parse_member_card(out.read_bytes())
    row = at.say("member show 3")
    assert card == MemberCard(card.chain_id, 0, 3, bytes.fromhex(row["row"]["identity"]), None)


def test_a_card_is_refused_that_would_be_wrong_or_replace_a_file(at: Desk, tmp_path: Path) -> None:
    out = tmp_path / "card"
    key = at.key("identity", KeyKind.IDENTITY)

    def code(*more: str, exit_code: int) -> str:
        return str(at.say("member card 3", "--out", str(out), *more, code=exit_code)["error"]["code"])

    other = at.say("member card 3", "--out", str(out), *PERSON, "--identity-key", key, code=3)["error"]
    assert (other["code"], "made of other words" in other["why"]) == ("MEMBER_CARD_INVALID", True)
    assert code(*PERSON, exit_code=2) == "USAGE"
    assert code("--identity-key", key, exit_code=2) == "USAGE"
    assert not out.exists()
    out.write_text("something")
    assert code(exit_code=1) == "CANNOT_WRITE"
    assert out.read_text() == "something"
    both = (*PERSON, "--identity-key", key, "--identity", "ab" * 32)
    assert at.refused("platform", "member enrol --birth-month 1990-05", *both, code=2) == "USAGE"
    assert at.say("member card 999", "--out", str(tmp_path / "other"), code=1)["error"]["code"] == "NOT_FOUND"


def test_a_statement_is_verified_beside_the_card(at: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card, other, statement, genesis = (tmp_path / name for name in ("card", "other", "statement", "genesis.toml"))
    member = enrolled(at, "--card", str(card))["member"]
    at.say("member card 3", "--out", str(other))
    genesis.write_bytes(at.node.genesis_raw)
    at.say(f"member statement {member}", "--out", str(statement))
    words = ("verify", "statement", str(statement), "--genesis", str(genesis), "--card")
    said = [finding["text"] for finding in at.offline(*words, str(card))["findings"]]
    assert "hash stands on the card" in said[0]
    assert repr(PERSON[1]) in said[1]
    assert run([*words, str(other), "--output", "json"]) == 6
    assert "card: member" in json.loads(capsys.readouterr().out)["error"]["what"]
    card.write_bytes(card.read_bytes().replace(b"110101", b"110102"))
    assert run([*words, str(card), "--output", "json"]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "MEMBER_CARD_INVALID"


def test_a_claimant_has_his_claim_proven_and_nobody_else_has(at: Desk, tmp_path: Path) -> None:
    claim = filed(at, person(20))
    at.node.commit()
    out = tmp_path / "proof"
    at.key("person 20", KeyKind.MEMBER)
    found = at.as_("person 20", f"proof claim {claim}", "--out", str(out))
    assert found["row_id"] == claim
    root, value = bytes.fromhex(found["state_root"]), at.node.certified.state.tables.get(Table.CLAIMS, claim)
    assert verify(root, row_key(Table.CLAIMS, claim), value, out.read_bytes())
    for name in ("bank", "platform", "person 21"):
        assert at.refused(name, f"proof claim {claim}") == "NOT_THE_CLAIMANT"
