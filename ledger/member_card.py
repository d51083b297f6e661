"""A member's card: what he is given on the day he joins, to check everything later by himself (LEDGER §10).

The card is a TOML file: the chain by the hash of its genesis file, his plan and number, the identity in his row, and
the *opening* of that identity. No header and no node is believed because of it; it is where his own trust begins.

Rules of this file
- An identity is a keyed hash, and the key is the person's own: an opening that is shown opens nobody else's row, and
  says nothing about the same person's row in another plan.
- The platform derives the person's key from one secret, so that the same words make the same identity again: one row
  for each plan and person, also when he comes back (LEDGER §4).
- A card is refused unless its opening opens its own identity, and unless it is, byte by byte, as it is written here.
"""

import hmac
import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from .errors import OperatorError, ProofFailed
from .findings import Finding, recomputed
from .genesis import Genesis
from .statement import Answer
from .toml_reader import TomlTable

CARD_VERSION: Final = 1
CARD_BYTES_MAX: Final = 8_192
PERSON_BYTES_MAX: Final = 512
KEY_BYTES: Final = 32
_ID_MAX: Final = 2**63 - 1
_PLAN_MAX: Final = 2**32 - 1
_HEAD: Final = "# The card of a member. Whoever has it can tell whose row this is: keep it like a key."


@dataclass(frozen=True, slots=True)
class Opening:
    """What shows that an identity is somebody's."""

    person: str
    """The words by which the platform knows him, such as the number of his identity card; printable."""
    key: bytes
    """His own key, 32 bytes."""


@dataclass(frozen=True, slots=True)
class MemberCard:
    """What stands on a card."""

    chain_id: bytes
    """SHA-256 of the genesis file."""
    plan: int
    member: int
    identity: bytes
    opening: Opening | None
    """``None``: he was enrolled by a ready-made identity, whose opening somebody else has."""


def personal_key(secret: bytes, plan: int, person: str) -> bytes:
    """The person's own key in a plan, from the platform's secret of 32 bytes."""
    return _keyed(secret, b"huzhu-person", plan, person)


def identity_of(key: bytes, plan: int, person: str) -> bytes:
    """The identity in the row of the person who has this key, 32 bytes."""
    return _keyed(key, b"huzhu-identity", plan, person)


def _keyed(key: bytes, use: bytes, plan: int, person: str) -> bytes:
    return hmac.digest(key, use.ljust(16, b"\0") + plan.to_bytes(4, "big") + person.encode(), "sha256")


def render_member_card(card: MemberCard) -> bytes:
    """The file. Raises ``OperatorError`` MEMBER_CARD_INVALID for what would not be read back."""
    raw = _written(card)
    parse_member_card(raw)
    return raw


def _written(card: MemberCard) -> bytes:
    lines = [
        _HEAD,
        f"member_card_version = {CARD_VERSION}",
        f'chain_id = "{card.chain_id.hex()}"',
        f"plan = {card.plan}",
        f"member = {card.member}",
        f'identity = "{card.identity.hex()}"',
    ]
    if card.opening is not None:
        person = json.dumps(card.opening.person, ensure_ascii=False)
        lines += ["", "[opening]", f"person = {person}", f'key = "{card.opening.key.hex()}"']
    return "\n".join(lines).encode() + b"\n"


def parse_member_card(raw: bytes) -> MemberCard:
    """The card in a file. Raises ``OperatorError`` MEMBER_CARD_INVALID."""
    if len(raw) > CARD_BYTES_MAX:
        raise _invalid("file", f"{len(raw)} bytes, at most {CARD_BYTES_MAX}")
    try:
        root = TomlTable.parse(raw)
        root.integer("member_card_version", CARD_VERSION, CARD_VERSION)
        chain_id = root.hexadecimal("chain_id", sha256().digest_size)
        plan, member = root.integer("plan", 0, _PLAN_MAX), root.integer("member", 0, _ID_MAX)
        identity = root.hexadecimal("identity", sha256().digest_size)
        opening = _opening(root.table("opening")) if root.has("opening") else None
        root.done()
    except OperatorError as error:
        raise _invalid(error.what, error.why) from error
    if opening is not None and not opens(opening, plan, identity):
        raise _invalid("opening", "it does not open the identity")
    card = MemberCard(chain_id, plan, member, identity, opening)
    if _written(card) != raw:
        raise _invalid("file", "it is not as cards are written: something was added or changed")
    return card


def opens(opening: Opening, plan: int, identity: bytes) -> bool:
    """Whether the identity is the keyed hash of this person with this key in this plan."""
    return hmac.compare_digest(identity_of(opening.key, plan, opening.person), identity)


def check_card(card: MemberCard, genesis: Genesis, answer: Answer) -> tuple[Finding, ...]:
    """That a verified statement is about the member on the card, on the card's chain. Raises ``ProofFailed``."""
    if card.chain_id != genesis.chain_id:
        raise ProofFailed(
            "card: chain_id", f"the card names {card.chain_id.hex()}, the genesis {genesis.chain_id.hex()}"
        )
    for name, mine in (("plan", card.plan), ("member", card.member), ("identity", card.identity.hex())):
        if answer.figures[name] != mine:
            raise ProofFailed(f"card: {name}", f"the card says {mine}, the statement {answer.figures[name]}")
    found = [recomputed("The genesis file is the one whose hash stands on the card, and the row is the card's.")]
    if card.opening is not None:
        found.append(recomputed(f"The identity of the row is that of {card.opening.person!r}, by the card's own key."))
    return tuple(found)


def _opening(table: TomlTable) -> Opening:
    opening = Opening(table.text("person", bytes_max=PERSON_BYTES_MAX), table.hexadecimal("key", KEY_BYTES))
    table.done()
    return opening


def _invalid(what: str, why: str) -> OperatorError:
    return OperatorError(
        "MEMBER_CARD_INVALID", what, why, "ask the platform for the card that `huzhu member enrol` wrote"
    )
