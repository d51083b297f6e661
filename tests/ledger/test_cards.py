"""Founders' cards: what is signed cannot be altered, and what a genesis would refuse no card says."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.cards import CARD_BYTES_MAX, parse_card, render_card
from ledger.errors import OperatorError
from ledger.genesis import GenesisOrganisation, GenesisValidator
from ledger.roles import Role
from ledger.signing import public_key

SEED = bytes(31) + b"\x01"
KEYS = [public_key(bytes(31) + bytes((at,))) for at in range(2, 6)]


def organisation(**changes: object) -> GenesisOrganisation:
    values: dict[str, object] = {
        "name": "north bank",
        "roles": Role.BANK | Role.HOSPITAL,
        "key": public_key(SEED),
        "node_keys": (KEYS[0],),
        "address": "bank.example:7040",
        "validator": GenesisValidator(KEYS[1], KEYS[2]),
    }
    return GenesisOrganisation(**(values | changes))  # type: ignore[arg-type]


def refused(raw: bytes) -> OperatorError:
    with pytest.raises(OperatorError) as caught:
        parse_card(raw)
    assert caught.value.code == "CARD_INVALID"
    return caught.value


@pytest.mark.parametrize("changes", [{}, {"validator": None}, {"node_keys": (), "address": "", "validator": None}])
def test_a_card_says_what_its_organisation_said(changes: dict[str, object]) -> None:
    assert parse_card(render_card(organisation(**changes), SEED)) == organisation(**changes)


def test_a_card_is_signed_with_the_key_that_it_names() -> None:
    with pytest.raises(OperatorError, match="not the key that signs"):
        render_card(organisation(key=KEYS[3]), SEED)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"bank.example", b"evil.example"),
        (b'"BANK", ', b'"PLATFORM", '),
        (KEYS[1].hex().encode(), KEYS[3].hex().encode()),
    ],
)
def test_a_card_altered_on_its_way_is_refused(old: bytes, new: bytes) -> None:
    raw = render_card(organisation(), SEED)
    assert old in raw
    assert "does not belong" in refused(raw.replace(old, new)).why


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"address": "no port"},
        {"roles": Role(0)},
        {"roles": Role.PLATFORM | Role.ASSESSOR},
        {"roles": Role.REGULATOR},
        {"node_keys": ()},
    ],
)
def test_what_a_genesis_would_refuse_no_card_says(changes: dict[str, object]) -> None:
    with pytest.raises(OperatorError) as caught:
        render_card(organisation(**changes), SEED)
    assert caught.value.code == "CARD_INVALID"


def test_a_card_has_a_size_limit() -> None:
    raw = render_card(organisation(), SEED)
    assert "at most" in refused(b"#" * (CARD_BYTES_MAX + 1 - len(raw)) + raw).why
    assert "at most" not in refused(b"#" * (CARD_BYTES_MAX - len(raw)) + raw).why


def test_a_card_of_the_future_is_refused() -> None:
    raw = render_card(organisation(), SEED)
    assert refused(raw.replace(b"card_version = 1", b"card_version = 2")).what == "card_version"


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_byte_of_a_card_can_be_changed(data: st.DataObject) -> None:
    raw = bytearray(render_card(organisation(), SEED))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    refused(bytes(raw))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_rubbish_is_refused(raw: bytes) -> None:
    refused(raw)
    refused(raw + b'\n# The signature is of every byte above this line.\nsignature = "' + b"0" * 128 + b'"\n')
