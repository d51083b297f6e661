"""Members' cards: the opening opens one identity in one plan, and a card that says anything else is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import OperatorError, ProofFailed
from ledger.member_card import (
    CARD_BYTES_MAX,
    MemberCard,
    Opening,
    check_card,
    identity_of,
    opens,
    parse_member_card,
    personal_key,
    render_member_card,
)
from ledger.statement import Answer, Statement
from tests.ledger.proof_kit import told

SECRET = b"\x01" * 32
PERSON = '身份证 110101199003070000 "A"\\'


def opened(plan: int = 1, person: str = PERSON) -> MemberCard:
    key = personal_key(SECRET, plan, person)
    return MemberCard(b"\x02" * 32, plan, 7, identity_of(key, plan, person), Opening(person, key))


def refused(raw: bytes) -> OperatorError:
    with pytest.raises(OperatorError) as caught:
        parse_member_card(raw)
    assert caught.value.code == "MEMBER_CARD_INVALID"
    return caught.value


@pytest.mark.parametrize(
    "card", [opened(), opened(0, "x"), MemberCard(bytes(32), 2**32 - 1, 2**63 - 1, bytes(32), None)]
)
def test_a_card_says_what_was_written_on_it(card: MemberCard) -> None:
    assert parse_member_card(render_member_card(card)) == card


def test_the_same_person_has_the_same_identity_again_and_another_in_another_plan() -> None:
    assert opened() == opened()
    identities = {opened(plan, person).identity for plan in (0, 1) for person in (PERSON, "somebody else")}
    assert len(identities) == 4


def test_an_opening_opens_nothing_else() -> None:
    card, other_plan, other_person = opened(), opened(2), opened(1, "somebody else")
    assert card.opening is not None
    assert opens(card.opening, card.plan, card.identity)
    for other in (other_plan, other_person):
        assert other.opening is not None
        assert not opens(card.opening, other.plan, other.identity)
        assert not opens(Opening(card.opening.person, other.opening.key), card.plan, card.identity)
        assert not opens(card.opening, other.plan, card.identity) or other.plan == card.plan


def test_identities_never_change() -> None:
    """They stand in rows for ever: another derivation would make everybody a stranger."""
    key = personal_key(SECRET, 0, "a person")
    assert key.hex() == "a0fc0769834eb9d61f9d20322f1c10b02a54cddce3c1f0f62848492b84f150d3"
    assert identity_of(key, 0, "a person").hex() == "2d40d59a3f7edeb92174c04efe571a24ef24410727c8eea29b714ecb920da8f9"


def test_a_card_whose_opening_does_not_open_its_identity_is_refused() -> None:
    card = opened()
    raw = render_member_card(card)
    for old, new in ((b"plan = 1", b"plan = 2"), (card.identity.hex().encode(), b"0" * 64), (b"110101", b"110102")):
        assert refused(raw.replace(old, new)).what == "opening"
    assert card.opening is not None
    with pytest.raises(OperatorError, match="does not open"):
        render_member_card(MemberCard(card.chain_id, 2, 7, card.identity, card.opening))


def test_a_card_has_a_size_limit_and_a_version() -> None:
    raw = render_member_card(opened())
    assert "at most" in refused(raw + b"#" * (CARD_BYTES_MAX + 1 - len(raw))).why
    assert "as cards are written" in refused(raw + b"#" * (CARD_BYTES_MAX - len(raw))).why
    assert refused(raw.replace(b"version = 1", b"version = 2")).what == "member_card_version"
    assert refused(raw.replace(b"member =", b"membre =")).what


@pytest.mark.parametrize("person", ["", " x", "x\n", "x" * 513])
def test_words_that_cannot_be_typed_again_are_refused(person: str) -> None:
    with pytest.raises(OperatorError, match="opening"):
        render_member_card(opened(1, person))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_rubbish_is_refused(raw: bytes) -> None:
    refused(raw)
    refused(render_member_card(opened()) + raw.replace(b"#", b"") + b"\n=")


# ---- beside a statement


def about(card: MemberCard, **changes: int | str) -> Answer:
    figures: dict[str, int | str] = {"plan": card.plan, "member": card.member, "identity": card.identity.hex()}
    return Answer(Statement(card.member, ()), (), "", figures | changes)


def test_a_statement_of_the_cards_member_is_his() -> None:
    chain, _ = told()
    card = opened()
    mine = MemberCard(chain.genesis.chain_id, card.plan, card.member, card.identity, card.opening)
    said = [finding.text for finding in check_card(mine, chain.genesis, about(mine))]
    assert len(said) == 2
    assert repr(PERSON) in said[1]
    unopened = MemberCard(mine.chain_id, mine.plan, mine.member, mine.identity, None)
    assert len(check_card(unopened, chain.genesis, about(mine))) == 1


@pytest.mark.parametrize("changes", [{"plan": 0}, {"member": 8}, {"identity": "00" * 32}])
def test_a_statement_of_another_row_is_refused_with_where(changes: dict[str, int | str]) -> None:
    chain, _ = told()
    card = opened()
    mine = MemberCard(chain.genesis.chain_id, card.plan, card.member, card.identity, card.opening)
    with pytest.raises(ProofFailed) as caught:
        check_card(mine, chain.genesis, about(mine, **changes))
    assert caught.value.where == f"card: {next(iter(changes))}"


def test_any_changed_byte_of_a_card_is_refused_and_named() -> None:
    chain, _ = told()
    card = opened()
    mine = MemberCard(chain.genesis.chain_id, card.plan, card.member, card.identity, card.opening)
    raw, answer = render_member_card(mine), about(mine)
    for at in range(len(raw)):
        for change in (1, 0x20):
            changed = raw[:at] + bytes((raw[at] ^ change,)) + raw[at + 1 :]
            try:
                check_card(parse_member_card(changed), chain.genesis, answer)
            except OperatorError as error:
                assert (error.code, bool(error.what), bool(error.why)) == ("MEMBER_CARD_INVALID", True, True)
            except ProofFailed as error:
                assert error.where.startswith("card: ")
            else:
                pytest.fail(f"byte {at} changed by {change} is not noticed: {changed!r}")


def test_another_genesis_is_refused() -> None:
    chain, _ = told()
    with pytest.raises(ProofFailed) as caught:
        check_card(opened(), chain.genesis, about(opened()))
    assert caught.value.where == "card: chain_id"
