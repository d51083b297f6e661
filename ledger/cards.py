"""A founder's card: the public half of an organisation as it wants to stand in the genesis, signed by its own key.

The card is a TOML file of the same form as an ``[[organisation]]`` of the genesis file; its last line is the signature
of the organisation's key over the exact bytes before that line (``Domain.CARD``; there is no chain yet, so the chain id
is 32 zero bytes). A card therefore cannot be altered on its way, and nobody can register a key that he does not hold.
"""

from typing import Final

from .errors import OperatorError
from .genesis_file import GenesisOrganisation, organisation_lines, read_organisation
from .signing import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Domain, public_key, sign, signing_digest, verify
from .toml_reader import TomlTable

CARD_VERSION: Final = 1
CARD_BYTES_MAX: Final = 8_192
_NO_CHAIN: Final = bytes(PUBLIC_KEY_BYTES)
_MARK: Final = b"\n# The signature is of every byte above this line.\nsignature = "


def render_card(organisation: GenesisOrganisation, seed: bytes) -> bytes:
    """The card of ``organisation``, signed with its 32-byte ``seed``. Raises ``OperatorError`` CARD_INVALID."""
    lines = [f"card_version = {CARD_VERSION}", "", "[organisation]", *organisation_lines(organisation)]
    signed = "\n".join(lines).encode() + b"\n"
    signature = sign(seed, _message(signed))
    card = signed + _MARK + b'"' + signature.hex().encode() + b'"\n'
    if organisation.key != public_key(seed):
        raise _invalid("organisation.key", "it is not the key that signs")
    parse_card(card)
    return card


def parse_card(raw: bytes) -> GenesisOrganisation:
    """The organisation of a card whose signature holds. Raises ``OperatorError`` CARD_INVALID."""
    if len(raw) > CARD_BYTES_MAX:
        raise _invalid("file", f"{len(raw)} bytes, at most {CARD_BYTES_MAX}")
    signed, mark, tail = raw.rpartition(_MARK)
    if not mark:
        raise _invalid("signature", "is missing at the end of the file")
    signature = _signature(tail)
    try:
        root = TomlTable.parse(signed)
        root.integer("card_version", CARD_VERSION, CARD_VERSION)
        organisation = read_organisation(root.table("organisation"))
        root.done()
    except OperatorError as error:
        raise _invalid(error.what, error.why) from error
    if not verify(organisation.key, _message(signed), signature):
        raise _invalid("signature", "does not belong to this card")
    return organisation


def _message(signed: bytes) -> bytes:
    return signing_digest(Domain.CARD, _NO_CHAIN, 0, signed)


def _signature(tail: bytes) -> bytes:
    digits = tail[1:-2]
    if tail != b'"' + digits + b'"\n' or len(digits) != 2 * SIGNATURE_BYTES or digits.strip(b"0123456789abcdef"):
        raise _invalid("signature", f'is not a line of "{2 * SIGNATURE_BYTES} hexadecimal digits"')
    return bytes.fromhex(digits.decode())


def _invalid(what: str, why: str) -> OperatorError:
    return OperatorError("CARD_INVALID", what, why, "ask that founder for the card that `huzhu genesis card` wrote")
