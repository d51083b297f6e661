"""``huzhu verify``: what a file proves, offline, in plain sentences; exit code 6 when it proves nothing (LEDGER §10).

Nothing here speaks to a node. The genesis file is the one thing that is believed, besides a header's hash if
``--trusted`` names one.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain as chained
from pathlib import Path
from typing import Any, Final

import click

from ledger.blocks import Header, Receipt, RecoveryRecord, validators_hash
from ledger.blockwalk import BlockWalk
from ledger.codec import decode_own, encode
from ledger.errors import OperatorError, ProofFailed
from ledger.findings import Finding
from ledger.genesis import Genesis, parse_genesis
from ledger.light import HeaderWalk, Link, ValidatorSet, decoded_header, genesis_trust, header_trust
from ledger.member_card import check_card, parse_member_card
from ledger.statement import (
    FILE_BYTES_MAX,
    DrawProof,
    Inclusion,
    JuryProof,
    SettlementProof,
    Statement,
    Subject,
    pick_for_claim,
)
from ledger.statement import (
    verify as verify_file,
)

from .output import console, output_option
from .prooffile import UNREADABLE, failed, is_header_record, record_of, say, unpacker
from .signing import parse_hex

HASH_BYTES: Final = 32

file_argument = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
genesis_option = click.option(
    "--genesis",
    "genesis_path",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The genesis file of the chain, from somebody you trust.",
)
trusted_option = click.option(
    "--trusted", metavar="HASH", help="Hash of the header at which the file begins, from somebody you trust."
)


@click.group()
def verify() -> None:
    """What a file proves: offline, in plain sentences."""


def _subject(kind: type[Subject], file: Path, genesis_path: Path, trusted: str | None) -> Any:
    trusted_hash = None if trusted is None else parse_hex(trusted, "--trusted", HASH_BYTES)
    try:
        return verify_file(_read(file), _genesis(genesis_path), kind, trusted_hash=trusted_hash)
    except ProofFailed as error:
        raise failed(error, str(file)) from error


@verify.command()
@file_argument
@genesis_option
@trusted_option
@click.option(
    "--card",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The member's card: also that chain, row and identity are those of the card.",
)
@output_option
def statement(file: Path, genesis_path: Path, trusted: str | None, card: Path | None) -> None:
    """A member's statement: his bill, his place among those who share, what he owes."""
    answer = _subject(Statement, file, genesis_path, trusted)
    if card is not None:
        try:
            findings = check_card(parse_member_card(_read(card)), _genesis(genesis_path), answer)
        except ProofFailed as error:
            raise failed(error, str(card)) from error
        answer = replace(answer, findings=(*findings, *answer.findings))
    say(answer)


@verify.command()
@file_argument
@genesis_option
@trusted_option
@output_option
def settlement(file: Path, genesis_path: Path, trusted: str | None) -> None:
    """A settled period: members counted, shares, charges, what was left over."""
    say(_subject(SettlementProof, file, genesis_path, trusted))


@verify.command("jury")
@file_argument
@genesis_option
@trusted_option
@output_option
def jury_(file: Path, genesis_path: Path, trusted: str | None) -> None:
    """A jury: drawn again from the beacons of the headers; who could not serve, and how the opened ballots stand."""
    say(_subject(JuryProof, file, genesis_path, trusted))


@verify.command()
@file_argument
@genesis_option
@trusted_option
@output_option
def transaction(file: Path, genesis_path: Path, trusted: str | None) -> None:
    """A transaction: that a block holds it, and what its receipt says."""
    say(_subject(Inclusion, file, genesis_path, trusted))


@verify.command()
@file_argument
@genesis_option
@trusted_option
@click.option("--claim", type=click.IntRange(min=0), help="Also: whom the seed names for this claim.")
@output_option
def draw(file: Path, genesis_path: Path, trusted: str | None, claim: int | None) -> None:
    """A draw: its seed from the beacons of the headers, each beacon checked."""
    answer = _subject(DrawProof, file, genesis_path, trusted)
    if claim is not None:
        answer = replace(answer, findings=(*answer.findings, pick_for_claim(answer, claim)))
    say(answer)


# ---- a chain ---------------------------------------------------------------------------------------------------------


@verify.command()
@file_argument
@genesis_option
@trusted_option
@click.option("--execute", is_flag=True, help="Blocks: apply the rules to every one of them, and compare each root.")
@output_option
def chain(file: Path, genesis_path: Path, trusted: str | None, execute: bool) -> None:
    """A file of headers, as /v1/headers writes them, or of whole blocks, as /v1/blocks/export does."""
    genesis = _genesis(genesis_path)
    trusted_hash = None if trusted is None else parse_hex(trusted, "--trusted", HASH_BYTES)
    try:
        records = _records(file)
        first = next(records, None)
        if first is None:
            raise ProofFailed("record 0", "the file is empty")
        if is_header_record(first):
            findings, figures = _headers(genesis, trusted_hash, first, records)
        else:
            findings, figures = _blocks(genesis, first, records, execute)
    except ProofFailed as error:
        raise failed(error, str(file)) from error
    certified = f"certified by {figures['certified_by']}"
    marks = [{"mark": "recomputed" if item.recomputed else certified, "text": item.text} for item in findings]
    text = "\n".join(f"[{click.style(item['mark'], bold=True)}] {item['text']}" for item in marks)
    console().result({"verified": True, **figures, "findings": marks}, text)


def _headers(
    genesis: Genesis, trusted_hash: bytes | None, first: list[Any], records: Iterator[list[Any]]
) -> tuple[list[Finding], dict[str, Any]]:
    trust, sets, epochs = genesis_trust(genesis), dict[bytes, ValidatorSet](), list[Header]()
    if trusted_hash is not None:
        link, _ = _header_record(first, 0, sets)
        trust = header_trust(genesis.chain_id, trusted_hash, link.header)
        HeaderWalk(trust).check_certificate(link, sets.get(trust.header.validators_hash, ()))
    walk = HeaderWalk(trust)
    following = records if trusted_hash is not None else chained([first], records)
    for number, record in enumerate(following, start=0 if trusted_hash is None else 1):
        link, begun = _header_record(record, number, sets)
        if begun is not None:
            walk.step_over(link, *begun)
            epochs.append(walk.header)
            continue
        validators = sets.get(walk.next_validators_hash)
        if validators is None:
            raise ProofFailed(f"header {walk.header.height + 1}", "the file lacks its validator set")
        walk.step(link, validators)
    if walk.certificate is None:
        raise ProofFailed("headers", "there is none after the trusted one")
    height, start = walk.header.height, trust.header.height
    origin = f"the trusted header {start}" if start else "the genesis"
    by = f"{len(walk.certificate.seals)} of {len(walk.validators)} validators"
    findings = [
        Finding(
            f"{height - start} headers follow one after the other from {origin} "
            f"to header {height}, {walk.header_hash.hex()}; each is signed by a quorum, the newest by {by}.",
            recomputed=True,
        ),
        *(
            Finding(
                f"Epoch {begun.epoch} begins with header {begun.height}, by a recovery that organisations with a "
                "quorum of the seats before it signed.",
                recomputed=True,
            )
            for begun in epochs
        ),
        Finding(f"The state after block {height - 1} has the root {walk.header.state_root.hex()}.", recomputed=False),
    ]
    return findings, {"height": height, "hash": walk.header_hash.hex(), "certified_by": by, "executed": False}


def _blocks(
    genesis: Genesis, first: list[Any], records: Iterator[list[Any]], execute: bool
) -> tuple[list[Finding], dict[str, Any]]:
    walk = BlockWalk(genesis, execute=execute)
    for number, record in enumerate(chained([first], records)):
        header, body, certificate, receipts = _block_record(record, number)
        if number == 0 and body is None:
            walk.begin(header, body, certificate, receipts)
        else:
            walk.step(header, body, certificate, receipts)
    if walk.height == 0:
        raise ProofFailed("file", "there is no block above the genesis")
    newest, certificate_ = walk.headers.header, walk.headers.certificate
    by = f"{0 if certificate_ is None else len(certificate_.seals)} of {len(walk.headers.validators)} validators"
    findings = [
        Finding(
            f"{walk.height} blocks follow one after the other from the genesis to block {walk.height}, "
            f"{walk.headers.header_hash.hex()}; each is signed by a quorum, the newest by {by}.",
            recomputed=True,
        ),
        Finding(
            f"Their {walk.transactions} transactions are those that the headers name, and every signature verifies.",
            recomputed=True,
        ),
    ]
    if execute:
        findings.append(
            Finding("Every block was executed again: all state roots and receipts come out the same.", recomputed=True)
        )
    else:
        findings.append(Finding(f"The receipts up to block {walk.height - 1} are those certified.", recomputed=True))
        findings.append(Finding(f"The state root after block {walk.height - 1} is the right one.", recomputed=False))
    figures = {
        "height": walk.height,
        "hash": walk.headers.header_hash.hex(),
        "certified_by": by,
        "transactions": walk.transactions,
        "state_root_of_parent": newest.state_root.hex(),
        "executed": execute,
        "receipts_of_newest_unchecked": walk.receipts_open,
    }
    return findings, figures


def _header_record(
    record: list[Any], number: int, sets: dict[bytes, ValidatorSet]
) -> tuple[Link, tuple[RecoveryRecord, ValidatorSet] | None]:
    """Header and certificate of a record, and what began its epoch; its validator set is kept by its hash."""
    try:
        found = record_of(record)
    except ValueError as error:
        raise ProofFailed(f"record {number}", str(error)) from error
    if found.validators is not None:
        name = validators_hash(found.validators)
        if name != decoded_header(f"record {number}", found.header).validators_hash:
            raise ProofFailed(f"record {number}", "its validator set is not the one that its header names")
        sets[name] = found.validators
    if found.begun is not None:
        sets[validators_hash(found.begun[0].validators)] = found.begun[0].validators
    return Link(found.header, found.certificate), found.begun


def _block_record(record: list[Any], number: int) -> tuple[bytes, bytes | None, bytes, tuple[Receipt, ...]]:
    where = f"record {number}"
    if len(record) != 4 or not isinstance(record[0], bytes) or not isinstance(record[2], bytes):
        raise ProofFailed(where, "not [header, body, certificate, receipts]")
    if record[1] is not None and not isinstance(record[1], bytes):
        raise ProofFailed(where, "its body is no byte string")
    try:
        receipts = decode_own(tuple[Receipt, ...], encode(record[3]))
    except ValueError as error:
        raise ProofFailed(where, f"its receipts: {error}") from error
    return record[0], record[1], record[2], receipts


# ---- files -----------------------------------------------------------------------------------------------------------


def _records(file: Path) -> Iterator[list[Any]]:
    """The MessagePack arrays of a file, each exactly as it is written canonically. Raises ``ProofFailed``."""
    try:
        with file.open("rb") as stream, file.open("rb") as again:
            values = unpacker(stream)
            number = at = 0
            while True:
                try:
                    record = next(values)
                except StopIteration:
                    break
                raw = again.read(values.tell() - at)
                at = values.tell()
                if not isinstance(record, list) or encode(record) != raw:
                    raise ProofFailed(f"record {number}", "not a canonical array")
                yield record
                number += 1
            if again.read(1):
                raise ProofFailed(f"record {number}", "it is cut short")
    except OSError as error:
        raise _unreadable(file, error) from error
    except UNREADABLE as error:
        raise ProofFailed("file", f"not MessagePack: {error}") from error


def _read(file: Path) -> bytes:
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            raise ProofFailed("file", f"longer than {FILE_BYTES_MAX} bytes")
        return file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from error


def _genesis(path: Path) -> Genesis:
    try:
        return parse_genesis(path.read_bytes())
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> OperatorError:
    return OperatorError("CANNOT_READ", str(path), str(error), "name a file that can be read", exit_code=2)
