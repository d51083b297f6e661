"""Whole blocks from a file: each part of a block is checked by itself, though q validators signed the header."""

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from ledger import transactions as tx
from ledger.blocks import Body, Header, header_hash, validators_hash
from ledger.blockwalk import BlockWalk
from ledger.codec import encode
from ledger.errors import ProofFailed
from ledger.light import HeaderWalk, Link, genesis_trust
from ledger.signing import sign
from ledger.votes import Certificate, Commit, Seal
from tests.ledger.chain import Block, Chain, seed


def chain() -> Chain:
    made = Chain()
    made.block()
    made.block()
    return made


def walked(made: Chain) -> BlockWalk:
    walk = BlockWalk(made.genesis, execute=False)
    for block in made.blocks:
        step(walk, block.header, block.body, block.certificate, block.applied.receipts)
    return walk


def step(walk: BlockWalk, header: Header, body: Body, certificate: Certificate, receipts: Sequence[Any] = ()) -> None:
    walk.step(encode(header), encode(body), encode(certificate), tuple(receipts))


def test_honest_blocks_are_believed() -> None:
    made = chain()
    made.block(("platform", tx.EnrolBatch(0, ((bytes(32), 23_900),))))
    walk = walked(made)
    assert (walk.height, walk.transactions) == (3, 1)


def test_a_transaction_that_its_signer_did_not_sign_is_refused_though_a_quorum_signed_the_block() -> None:
    made = chain()
    raw = bytearray(made.transaction("platform", tx.Exit(3)))
    raw[-1] ^= 1
    header, body, _ = made.propose([bytes(raw)])
    with pytest.raises(ProofFailed, match="its signature does not verify") as caught:
        step(walked(made), header, body, made.certify(header))
    assert caught.value.where == "block 3, transaction 0"


def test_evidence_that_the_header_does_not_name_is_refused_though_a_quorum_signed_it() -> None:
    made = chain()
    header, body, _ = made.propose([])
    header = replace(header, evidence_root=bytes(32))
    with pytest.raises(ProofFailed, match="not what the header names") as caught:
        step(walked(made), header, body, made.certify(header))
    assert caught.value.where == "block 3, evidence"


def test_one_validator_alone_does_not_make_himself_the_set() -> None:
    """He signs a header that names a set of himself only: his quorum is whole, but nobody announced it."""
    made = chain()
    walk = HeaderWalk(genesis_trust(made.genesis))
    honest: list[Block] = made.blocks
    walk.step(Link(encode(honest[0].header), encode(honest[0].certificate)), made.view.validators)
    alone = made.view.validators[:1]
    forged = replace(honest[1].header, validators_hash=validators_hash(alone), txs_root=bytes(32))
    certificate = alone_signed(made, forged)
    with pytest.raises(ProofFailed, match="not the one that its parent announced") as caught:
        walk.step(Link(encode(forged), encode(certificate)), alone)
    assert caught.value.where == "header 2"


def alone_signed(made: Chain, header: Header) -> Certificate:
    block_hash = header_hash(encode(header))
    message = Commit(header.height, 0, block_hash).signing_digest(made.genesis.chain_id, header.epoch)
    return Certificate(header.height, 0, block_hash, (Seal(0, sign(seed("platform validator"), message)),))
