"""``huzhu proof``: the ICS-23 spec, a row with its proof, and files that prove a settlement, a draw, a transaction."""

import json
from base64 import b64encode
from pathlib import Path
from typing import Any, Final

import click

from ledger import proofs
from ledger.blocks import decode_header
from ledger.claim_question import question_digest
from ledger.errors import MalformedBytes, OperatorError, ProofFailed
from ledger.signing import sign
from ledger.statement import DrawProof, Inclusion, JuryProof, SettlementProof
from node.keys import KeyPair, read_key

from .client import NodeClient, ask, node_option
from .output import console, listing, output_option
from .prooffile import failed, from_height_option, out_option, write_file
from .sender import now_ms
from .signing import key_option
from .status import flat

HASH_OPS: Final = {0: "NO_HASH", 1: "SHA256"}
LENGTH_OPS: Final = {1: "VAR_PROTO"}
_BYTES: Final = ("header", "certificate", "validators", "proof", "value")
"""Long values, which people do not want to see."""
proof_bytes_option = click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the proof's protobuf bytes there."
)


@click.group()
def proof() -> None:
    """Proofs that any public ICS-23 verifier checks, and files for `huzhu verify`."""


def public_spec() -> dict[str, Any]:
    """``ledger.proofs.PROOF_SPEC`` in the JSON mapping of protobuf: what the public verifiers read."""
    leaf: Any = proofs.PROOF_SPEC["leaf_spec"]
    inner: Any = proofs.PROOF_SPEC["inner_spec"]
    return {
        "leafSpec": {
            "hash": HASH_OPS[leaf["hash"]],
            "prehashKey": HASH_OPS[leaf["prehash_key"]],
            "prehashValue": HASH_OPS[leaf["prehash_value"]],
            "length": LENGTH_OPS[leaf["length"]],
            "prefix": b64encode(leaf["prefix"]).decode(),
        },
        "innerSpec": {
            "childOrder": list(inner["child_order"]),
            "childSize": inner["child_size"],
            "minPrefixLength": inner["min_prefix_length"],
            "maxPrefixLength": inner["max_prefix_length"],
            "emptyChild": b64encode(inner["empty_child"]).decode(),
            "hash": HASH_OPS[inner["hash"]],
        },
        "maxDepth": proofs.PROOF_SPEC["max_depth"],
        "minDepth": proofs.PROOF_SPEC["min_depth"],
    }


@proof.command()
@output_option
def spec() -> None:
    """The ICS-23 ProofSpec, as JSON: `ics23.ProofSpec.fromObject` and its like take it as it is."""
    found = public_spec()
    console().result(found, json.dumps(found, indent=2))


@proof.command()
@click.argument("table")
@click.argument("row_id", metavar="ID", type=click.IntRange(min=0))
@proof_bytes_option
@node_option
@output_option
def show(table: str, row_id: int, out: Path | None, node: str) -> None:
    """A row of a TABLE, its proof, and the header that certifies the root."""
    _say(ask(node, lambda client: client.get(f"/v1/proofs/{table}/{row_id}")), out)


@proof.command()
@click.argument("claim_id", metavar="CLAIM", type=click.IntRange(min=0))
@proof_bytes_option
@key_option
@node_option
@output_option
def claim(claim_id: int, out: Path | None, key_path: Path, node: str) -> None:
    """The row of a CLAIM with its proof, for the claimant: signed with his key, or the platform's if he has none."""
    key = read_key(key_path)
    _say(ask(node, lambda client: _asked(client, claim_id, key)), out)


async def _asked(client: NodeClient, claim_id: int, key: KeyPair) -> Any:
    """The claimant's question, signed for now."""
    chain_id = bytes.fromhex((await client.get("/v1/status"))["chain_id"])
    asked_ms = now_ms()
    signature = sign(key.secret, question_digest(chain_id, claim_id, asked_ms))
    body = {"signer": key.public.hex(), "asked_ms": asked_ms, "signature": signature.hex()}
    return await client.post(f"/v1/claims/{claim_id}/proof", json.dumps(body).encode(), "application/json")


def _say(answer: dict[str, Any], out: Path | None) -> None:
    """A row with its proof, which is checked; the bytes of the proof go to ``out``."""
    raw = bytes.fromhex(answer["proof"])
    _check(answer, raw)
    if out is not None:
        try:
            out.write_bytes(raw)
        except OSError as error:
            raise OperatorError("CANNOT_WRITE", str(out), str(error), "name another --out", exit_code=1) from error
    shown = {name: f"{len(value) // 2} bytes" if name in _BYTES else value for name, value in answer.items()}
    console().result(answer, listing(flat(shown)))


def _check(answer: dict[str, Any], raw: bytes) -> None:
    """The node's answer proves what it says: refused before anybody relies on it."""
    try:
        header = decode_header(bytes.fromhex(answer["header"]))
    except MalformedBytes as error:
        raise failed(ProofFailed("header", error.detail)) from error
    key, value = bytes.fromhex(answer["key"]), bytes.fromhex(answer["value"])
    if not proofs.verify(header.state_root, key, value, raw):
        raise failed(ProofFailed("proof", "it does not lead from the row to the header's state root"))


@proof.command()
@click.argument("plan", type=click.IntRange(min=0))
@click.argument("period", type=click.IntRange(min=0))
@out_option
@from_height_option
@node_option
@output_option
def settlement(plan: int, period: int, out: Path, from_height: int | None, node: str) -> None:
    """A file about a settled PERIOD of a PLAN, with all its frozen cohorts, for `huzhu verify settlement`."""
    write_file(node, f"/v1/settlements/{plan}/{period}/proof", SettlementProof, out, from_height)


@proof.command()
@click.argument("draw_id", metavar="ID", type=click.IntRange(min=0))
@out_option
@from_height_option
@node_option
@output_option
def draw(draw_id: int, out: Path, from_height: int | None, node: str) -> None:
    """A file about a closed draw, for `huzhu verify draw`; it begins before the draw was opened."""
    write_file(node, f"/v1/draws/{draw_id}/proof", DrawProof, out, from_height)


@proof.command()
@click.argument("dispute_id", metavar="DISPUTE", type=click.IntRange(min=0))
@out_option
@from_height_option
@node_option
@output_option
def jury(dispute_id: int, out: Path, from_height: int | None, node: str) -> None:
    """A file about the jury of a DISPUTE, for `huzhu verify jury`; it begins before the draw was opened."""
    write_file(node, f"/v1/disputes/{dispute_id}/proof", JuryProof, out, from_height)


@proof.command()
@click.argument("transaction_id", metavar="ID")
@out_option
@from_height_option
@node_option
@output_option
def transaction(transaction_id: str, out: Path, from_height: int | None, node: str) -> None:
    """A file about a committed transaction and its receipt, for `huzhu verify transaction`."""
    write_file(node, f"/v1/transactions/{transaction_id}/proof", Inclusion, out, from_height)
