"""Blocks as JSON Lines: everything a program wants to know, and no salt nor fingerprint of a claim."""

import json

import msgpack

from cli.export import line
from ledger.rows import Claim
from ledger.transactions import decode_transaction
from node.api.blocks import raw_block
from tests.node.test_api_claims import judged


def test_a_line_says_every_transaction_of_its_block_and_no_secret_of_a_claim() -> None:
    node, _ = judged()
    blocks = node.current.blocks
    secrets = {
        value.hex() for _, row in node.current.state.rows(Claim) for value in (row.salt, row.fingerprint) if any(value)
    }
    kinds = set()
    for block in node.chain.blocks:
        said = line(msgpack.unpackb(raw_block(blocks, block.header.height), strict_map_key=False))
        assert said["height"] == block.header.height
        sent = [decode_transaction(raw).body.__struct_config__.tag for raw in block.body.transactions]
        assert [one["type"] for one in said["transactions"]] == sent
        kinds |= set(sent)
        text = json.dumps(said)
        assert not any(secret in text for secret in secrets)
    assert {"file_claim", "give_documents", "reveal_ballot"} <= kinds
