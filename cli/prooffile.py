"""Proof files at the command line: a node is asked for the parts, and answers are put into words (LEDGER §10)."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final

import click
import msgpack

from ledger.blocks import RecoveryRecord
from ledger.codec import decode, decode_own, digest, encode
from ledger.errors import MalformedBytes, OperatorError, ProofFailed
from ledger.genesis import Genesis, parse_genesis
from ledger.light import ChainProof, ValidatorSet, make_chain
from ledger.statement import FILE_BYTES_MAX, Answer, Parts, ProofFile, Subject, assemble, verify

from .client import NodeClient, ask
from .output import Exit, console

HEADERS_A_REQUEST: Final = 20_000
RECORD_BYTES_MAX: Final = 1 << 25
RECORD_ITEMS_MAX: Final = 1 << 16
UNREADABLE: Final = (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException)
"""What an unpacker and ``encode`` raise for bytes that are no record."""

out_option = click.option(
    "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file to write."
)
from_height_option = click.option(
    "--from-height",
    type=click.IntRange(min=1),
    help="Begin after this header, which the verifier must trust.  [default: the genesis]",
)


@dataclass(frozen=True, slots=True)
class HeaderRecord:
    """One header of a file of headers, and what a light client needs to follow it."""

    header: bytes
    certificate: bytes
    validators: ValidatorSet | None
    """Where it differs from the set of the header before."""
    begun: tuple[RecoveryRecord, ValidatorSet] | None
    """Of the first header of an epoch: the record, and the set whose organisations signed it."""


def write_file(node: str, route: str, kind: type[Subject], out: Path, from_height: int | None) -> None:
    """Ask ``node`` for everything about one thing, verify it, write it, and say what was written."""
    raw, genesis = ask(node, lambda client: _fetch(client, route, from_height))
    trusted = None if from_height is None else _anchor_hash(raw)
    try:
        answer = verify(raw, genesis, kind, trusted_hash=trusted)
    except ProofFailed as error:
        raise failed(error, f"what {node} handed out is not to be believed") from error
    try:
        out.write_bytes(raw)
    except OSError as error:
        raise OperatorError("CANNOT_WRITE", str(out), str(error), "name another --out", exit_code=1) from error
    hint = "" if trusted is None else f" --trusted {trusted.hex()}"
    name = kind.__struct_config__.tag
    shown: dict[str, Any] = {"file": str(out), "bytes": len(raw), **answer.figures}
    if trusted is not None:
        shown["trusted_hash"] = trusted.hex()
    text = (
        f"{out}: {len(raw):,} bytes, certified by header {answer.figures['height']}\n"
        f"verify it anywhere: huzhu verify {name} {out} --genesis GENESIS{hint}"
    )
    console().result(shown, text)


async def _fetch(client: NodeClient, route: str, from_height: int | None) -> tuple[bytes, Genesis]:
    genesis = parse_genesis(await client.get_bytes("/v1/genesis"))
    try:
        parts = decode(Parts, await client.get_bytes(route), bytes_max=FILE_BYTES_MAX)
    except MalformedBytes as error:
        raise OperatorError("NOT_A_NODE", f"{client.url}{route}", error.detail, "", exit_code=4) from error
    if from_height is not None and from_height >= parts.height:
        raise OperatorError(
            "USAGE", "--from-height", f"the file ends at header {parts.height}", "name a lower one", exit_code=2
        )
    chain = await _headers(client, from_height, parts.height)
    return assemble(genesis.chain_id, chain, parts.rows, parts.subject), genesis


async def _headers(client: NodeClient, from_height: int | None, last: int) -> ChainProof:
    anchor = b""
    if from_height is not None:
        anchor = (await _range(client, from_height, from_height))[0].header
    records: list[HeaderRecord] = []
    first = 1 if from_height is None else from_height + 1
    while first <= last:
        stop = min(last, first + HEADERS_A_REQUEST - 1)
        records += await _range(client, first, stop)
        first = stop + 1
    return chain_of(anchor, records)


def chain_of(anchor: bytes, records: Sequence[HeaderRecord]) -> ChainProof:
    """The proof made of the records that follow on ``anchor``, over the epochs that begin among them."""
    links = [(record.header, record.certificate, record.validators) for record in records]
    return make_chain(anchor, links, [record.begun for record in records if record.begun is not None])


async def _range(client: NodeClient, first: int, last: int) -> list[HeaderRecord]:
    raw = await client.get_bytes("/v1/headers", **{"from": first, "to": last})
    try:
        found = [record_of(item) for item in unpacker(BytesIO(raw))]
    except UNREADABLE as error:
        raise OperatorError("NOT_A_NODE", f"{client.url}/v1/headers", str(error), "", exit_code=4) from error
    if len(found) != last - first + 1:
        raise OperatorError("NOT_A_NODE", f"{client.url}/v1/headers", f"{len(found)} headers", "", exit_code=4)
    return found


def unpacker(stream: BinaryIO) -> Any:
    """A schema-free reader of MessagePack values; damaged lengths cost no memory."""
    return msgpack.Unpacker(stream, max_buffer_size=RECORD_BYTES_MAX, max_array_len=RECORD_ITEMS_MAX)


def is_header_record(item: Any) -> bool:
    """Whether a record is one of headers, not of whole blocks, whose third part is the certificate."""
    return len(item) == 3 or (len(item) == 4 and not isinstance(item[2], bytes))


def record_of(item: Any) -> HeaderRecord:
    """[header, certificate, validator set or nil], and in the first of an epoch [recovery record, announced set].

    As ``/v1/headers`` writes it. Raises ``ValueError``.
    """
    if not isinstance(item, list) or len(item) not in (3, 4) or not all(isinstance(part, bytes) for part in item[:2]):
        raise ValueError("not [header, certificate, validators] nor [header, certificate, validators, recovery]")
    header, certificate, entries = item[:3]
    validators = None if entries is None else decode_own(ValidatorSet, encode(entries))
    begun = decode_own(tuple[RecoveryRecord, ValidatorSet], encode(item[3])) if len(item) == 4 else None
    return HeaderRecord(header, certificate, validators, begun)


def _anchor_hash(raw: bytes) -> bytes:
    """The hash of the header at which a file made here begins."""
    return digest(decode(ProofFile, raw, bytes_max=FILE_BYTES_MAX).chain.anchor)


# ---- words -----------------------------------------------------------------------------------------------------------


def failed(error: ProofFailed, what: str = "") -> OperatorError:
    """A failed verification as the operator's error: where in the input, and why; exit code 6."""
    head = f"{what}: " if what else ""
    advice = "believe nothing of it; ask another node, and show both files to the regulator"
    return OperatorError("NOT_VERIFIED", f"{head}{error.where}", error.why, advice, exit_code=Exit.INTEGRITY.value)


def say(answer: Answer) -> None:
    """The sentences of a verified file, each with its mark."""
    certified = f"certified by {answer.certified_by}"
    marked = [("recomputed" if item.recomputed else certified, item.text) for item in answer.findings]
    shown: dict[str, Any] = {
        "verified": True,
        "certified_by": answer.certified_by,
        **answer.figures,
        "findings": [{"mark": mark, "text": text} for mark, text in marked],
    }
    console().result(shown, "\n".join(f"[{click.style(mark, bold=True)}] {text}" for mark, text in marked))
