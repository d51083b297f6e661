"""What a light client believes, and what it must not: headers and inclusion."""

from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger import merkle
from ledger import transactions as tx
from ledger.blocks import header_hash
from ledger.codec import encode
from ledger.errors import ProofFailed
from ledger.light import HeaderWalk, Link, genesis_trust, header_trust, includes, inclusion_path, verify_chain
from ledger.statement import (
    Inclusion,
    verify,
)
from ledger.votes import Seal
from tests.ledger.chain import Chain, genesis_values
from tests.ledger.light_kit import CHAIN, GENESIS, inclusion_file, opened, trusted
from tests.ledger.proof_kit import (
    headers,
    inclusion,
)

# ---- headers ---------------------------------------------------------------------------------------------------------


def test_headers_are_believed_from_the_genesis_on() -> None:
    chain = verify_chain(genesis_trust(GENESIS), headers(CHAIN))
    assert chain.newest == CHAIN.blocks[-1].header
    assert (chain.signatures, chain.validators) == (3, 4)


def test_headers_are_believed_from_a_header_that_the_caller_trusts() -> None:
    anchor = CHAIN.blocks[99].header
    proof = headers(CHAIN, 101)
    trust = header_trust(GENESIS.chain_id, header_hash(encode(anchor)), proof.anchor)
    assert verify_chain(trust, proof).newest == CHAIN.blocks[-1].header
    with pytest.raises(ProofFailed, match="trusted header"):
        header_trust(GENESIS.chain_id, bytes(32), proof.anchor)


def test_a_chain_of_no_headers_proves_nothing() -> None:
    with pytest.raises(ProofFailed, match="there is none"):
        verify_chain(genesis_trust(GENESIS), replace(headers(CHAIN), sets=(), links=()))


def resigned(chain: Chain, at: int, **changes: Any) -> Link:
    """Header ``at`` changed, and honestly signed once more by all who signed it: only its own rules can refuse it."""
    block = chain.blocks[at]
    header = replace(block.header, **changes)
    fork = chain.fork()
    fork.view = chain.blocks[at - 1].applied.view
    return Link(encode(header), encode(fork.certify(header)))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"version": 3}, "protocol version 3, this program speaks 1 to 2"),
        ({"version": 0}, "protocol version 0"),
        ({"height": 12}, "it says height 12"),
        ({"epoch": 1}, "a recovery lies before it"),
        ({"parent": bytes(32)}, "its parent is"),
        ({"time_ms": CHAIN.blocks[9].header.time_ms}, "not above its parent"),
        ({"validators_hash": bytes(32)}, "validator set is not the one"),
    ],
)
def test_a_header_follows_its_parent_in_every_field(changes: dict[str, Any], why: str) -> None:
    proof = headers(CHAIN, last=11)
    links = (*proof.links[:10], resigned(CHAIN, 10, **changes))
    with pytest.raises(ProofFailed, match=why) as caught:
        verify_chain(genesis_trust(GENESIS), replace(proof, links=links))
    assert caught.value.where == "header 11"


def test_a_signature_too_few_and_a_stranger_s_are_refused() -> None:
    proof = headers(CHAIN, last=11)
    certificate = CHAIN.blocks[10].certificate
    fewer = replace(certificate, seals=certificate.seals[:-1])
    forged = replace(certificate, seals=(Seal(0, certificate.seals[1].signature), *certificate.seals[1:]))
    other = CHAIN.blocks[9].certificate
    for wrong, why in ((fewer, "2 seals"), (forged, "index 0 does not verify"), (other, "it is for block 10")):
        links = (*proof.links[:10], replace(proof.links[10], certificate=encode(wrong)))
        with pytest.raises(ProofFailed, match=why) as caught:
            verify_chain(genesis_trust(GENESIS), replace(proof, links=links))
        assert caught.value.where == "certificate of header 11"


def test_a_new_validator_set_is_believed_only_when_the_old_one_announced_it() -> None:
    proof = headers(CHAIN, last=3)
    mine = replace(CHAIN.view.validators[0], validator_key=bytes(32))
    own = (mine, *CHAIN.view.validators[1:])
    with pytest.raises(ProofFailed, match="lacks its validator set"):
        verify_chain(genesis_trust(GENESIS), replace(proof, sets=(own,)))
    with pytest.raises(ProofFailed, match="validator sets"):
        verify_chain(genesis_trust(GENESIS), replace(proof, sets=(*proof.sets, own)))
    with pytest.raises(ProofFailed, match="not the one that its parent announced"):
        HeaderWalk(genesis_trust(GENESIS)).step(proof.links[0], own)


def test_another_chain_s_headers_are_refused() -> None:
    other = Chain(genesis_values(name="another"))
    other.block()
    with pytest.raises(ProofFailed, match="header 1"):
        verify_chain(genesis_trust(GENESIS), headers(other))


# ---- inclusion -------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=40), st.data())
@settings(max_examples=60, deadline=None)
def test_every_leaf_is_included_and_no_other(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    root, path = merkle.root(leaves), inclusion_path(leaves, index)
    assert includes(root, leaves[index], path)
    assert [sibling for _, sibling in path] == merkle.prove(leaves, index)
    assert not includes(root, leaves[index] + b"x", path)
    assert not includes(root, leaves[index], (*path, (True, bytes(32))))
    for at, (on_left, sibling) in enumerate(path):
        assert not includes(root, leaves[index], (*path[:at], (on_left, sibling[:-1]), *path[at + 1 :]))
        if sibling != leaves[index]:
            mirrored = (*path[:at], (not on_left, sibling), *path[at + 1 :])
            assert not includes(root, leaves[index], mirrored) or len(set(leaves)) < len(leaves)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_sibling_has_32_bytes_though_the_hash_would_come_out(size: int) -> None:
    """Else bytes could be moved between a sibling and its neighbour, and one root would have two trees."""
    value = sha256(b"\x00" + b"leaf").digest()
    sibling = bytes(range(size))
    assert not includes(sha256(b"\x01" + sibling + value).digest(), b"leaf", ((True, sibling),))
    assert not includes(sha256(b"\x01" + value + sibling).digest(), b"leaf", ((False, sibling),))
    whole = bytes(32)
    assert includes(sha256(b"\x01" + whole + value).digest(), b"leaf", ((True, whole),))


def test_every_transaction_of_the_chain_has_its_file() -> None:
    for block in CHAIN.blocks[:-1]:
        for position, receipt in enumerate(block.transaction_receipts):
            answer = verify(inclusion(CHAIN, block.header.height, position), GENESIS, Inclusion)
            assert answer.figures["code"] == receipt.code


def test_a_receipt_of_another_transaction_is_refused() -> None:
    raw = inclusion_file()
    file, other = opened(raw), CHAIN.blocks[-2].applied.receipts[-1]
    subject = file.subject
    assert isinstance(subject, Inclusion)
    with pytest.raises(ProofFailed, match="receipt"):
        verify(
            encode(replace(file, subject=replace(subject, receipt=encode(other)))),
            GENESIS,
            Inclusion,
            trusted_hash=trusted(raw),
        )
    forged = replace(subject, transaction=CHAIN.transaction("platform", tx.Exit(1)))
    with pytest.raises(ProofFailed, match="does not hold"):
        verify(encode(replace(file, subject=forged)), GENESIS, Inclusion, trusted_hash=trusted(raw))


def test_the_receipt_of_the_block_s_other_transaction_is_refused() -> None:
    file = opened(inclusion_file())
    subject = file.subject
    assert isinstance(subject, Inclusion)
    other = opened(inclusion(CHAIN, subject.height, 1, first=subject.height)).subject
    assert isinstance(other, Inclusion)
    swapped = replace(subject, receipt=other.receipt, receipt_path=other.receipt_path)
    with pytest.raises(ProofFailed, match="receipt"):
        verify(encode(replace(file, subject=swapped)), GENESIS, Inclusion, trusted_hash=header_hash(file.chain.anchor))


def test_a_header_more_than_is_needed_is_refused() -> None:
    file = opened(inclusion_file())
    assert isinstance(file.subject, Inclusion)
    more = replace(file, chain=headers(CHAIN, file.subject.height, file.subject.height + 2))
    with pytest.raises(ProofFailed, match="is the last one that is needed"):
        verify(encode(more), GENESIS, Inclusion, trusted_hash=header_hash(file.chain.anchor))
