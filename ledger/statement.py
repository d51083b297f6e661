"""Files that prove something to somebody without a node, and what exactly they prove (LEDGER §10).

A file is one canonical MessagePack value: a header chain with its certificates, row proofs against the state root of
its newest header, and what it is about. ``verify`` answers in sentences, each marked: *recomputed*, the verifier did
the arithmetic himself; or *certified*, q validators signed a state root over it and their word is all there is.

Rules of this file
- Say nothing more than is proven. A sentence is only made after its check; the first check that fails raises.
- Every byte counts: a row, a validator set or a header that is not needed makes the file invalid.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from . import calendar, draws, jury_proof
from .blocks import Receipt
from .clock import clock
from .codec import Wire, decode, digest, encode
from .errors import InvariantViolation, MalformedBytes, ProofFailed, TransactionRejected
from .findings import Finding, certified, day_text, month_text, recomputed, rmb, time_text
from .genesis import Genesis
from .light import ChainProof, Path, Trust, VerifiedChain, genesis_trust, header_trust, includes, verify_chain
from .members import member_state, waits_from
from .organisations import with_role
from .params import ChainParams
from .plans import version_at
from .proven import ProvenState, RowKey, recorded
from .recompute import (
    DrawSums,
    MemberSums,
    SettlementSums,
    closed_draw,
    draw_sums,
    frozen_rows,
    member_sums,
    settlement_sums,
)
from .roles import Role
from .rows import Account, Draw, Organisation
from .signing import verify as verify_signature
from .state import StateReader
from .store import Reader
from .transactions import decode_transaction, signed_digest, transaction_id

T = TypeVar("T")

FORMAT: Final = "huzhu-proof-1"
FILE_BYTES_MAX: Final = 1 << 30


class Statement(Wire, frozen=True, tag="statement"):
    """About a member: his bill, and his place among those who share."""

    member: int
    frozen: tuple[int, ...]
    """Rows of ``frozen`` that counted him, one for each period of his bill."""


class SettlementProof(Wire, frozen=True, tag="settlement"):
    """About one settled period of a plan, with all its frozen cohorts."""

    settlement: int


class DrawProof(Wire, frozen=True, tag="draw"):
    """About one closed draw."""

    draw: int


class JuryProof(Wire, frozen=True, tag="jury"):
    """About the jury of a dispute: who was drawn, who could not serve and why, how the opened ballots stand."""

    dispute: int
    ballots: tuple[int, ...]
    """Rows of ``ballots`` that were opened, ascending."""


class Inclusion(Wire, frozen=True, tag="transaction"):
    """About one transaction: that a block holds it, and what its receipt says."""

    height: int
    transaction: bytes
    """The exact bytes."""
    path: Path
    """To ``txs_root`` of header ``height``."""
    receipt: bytes
    receipt_path: Path
    """To ``receipts_root`` of header ``height + 1``."""


Subject = Statement | SettlementProof | DrawProof | JuryProof | Inclusion


class ProofFile(Wire, frozen=True):
    """The whole file."""

    format: str
    chain_id: bytes
    chain: ChainProof
    rows: tuple[bytes, ...]
    """ICS-23 proofs under the newest header's state root, ascending by table and id."""
    subject: Subject


class Parts(Wire, frozen=True):
    """What a node hands out of a file; the headers, up to the one that certifies the rows, are asked for by range."""

    height: int
    """Of the certifying header: the newest that the file needs."""
    rows: tuple[bytes, ...]
    subject: Subject


@dataclass(frozen=True, slots=True)
class Answer:
    """What a file proves."""

    subject: Subject
    findings: tuple[Finding, ...]
    certified_by: str
    """``3 of 4 validators``: who signed the newest header."""
    figures: dict[str, int | str]
    """The same for programs."""


# ---- what each kind of file needs of a state -------------------------------------------------------------------------


def read_statement(state: StateReader, subject: Statement) -> tuple[MemberSums, str, Account, int]:
    """(bill, member's state, the plan's account, the clock's offset in ms): reads each row that a statement needs."""
    sums = member_sums(state, subject.member, subject.frozen)
    return sums, sums.plan.name, state.get(Account, sums.member.plan), clock(state).offset_ms


def read_settlement(state: StateReader, subject: SettlementProof) -> SettlementSums:
    """Reads each row that the proof of a settlement needs."""
    return settlement_sums(state, subject.settlement)


def read_draw(state: StateReader, subject: DrawProof, chain: VerifiedChain, params: ChainParams) -> DrawSums:
    """Reads each row that the proof of a draw needs."""
    return draw_sums(state, subject.draw, chain, params)


def read_jury(state: StateReader, subject: JuryProof, draw: Callable[[int], Draw]) -> jury_proof.JurySums:
    """Reads each row that the proof of a jury needs; ``draw`` gives its closed draw."""
    return jury_proof.jury_sums(state, subject.dispute, subject.ballots, draw)


def rows_needed(reader: Reader, subject: Subject) -> set[RowKey]:
    """The rows that ``verify`` will read for ``subject``: it is checked over the whole state, as over the proven rows.

    Raises ``ProofFailed`` or ``InvariantViolation`` (no such row) when there is nothing to prove.
    """
    state, tables = recorded(reader)
    match subject:
        case Statement():
            read_statement(state, subject)
        case SettlementProof():
            read_settlement(state, subject)
        case DrawProof():
            state.get(Draw, subject.draw)
            with_role(state, Role.ASSESSOR)
        case JuryProof():
            read_jury(state, subject, lambda draw_id: state.get(Draw, draw_id))
    return tables.read


def statement_of(reader: Reader, member_id: int) -> Statement:
    """The subject of a member's statement, as of the state of ``reader``."""
    return Statement(member_id, frozen_rows(StateReader(reader), member_id))


def jury_of(reader: Reader, dispute_id: int) -> JuryProof:
    """The subject of a jury's proof, as of the state of ``reader``."""
    return JuryProof(dispute_id, jury_proof.opened_ballots(StateReader(reader), dispute_id))


def assemble(chain_id: bytes, chain: ChainProof, rows: Sequence[bytes], subject: Subject) -> bytes:
    """The bytes of a file."""
    return encode(ProofFile(FORMAT, chain_id, chain, tuple(rows), subject))


# ---- verifying -------------------------------------------------------------------------------------------------------


def verify(raw: bytes, genesis: Genesis, kind: type[Subject], *, trusted_hash: bytes | None = None) -> Answer:
    """Verify a file of this ``kind`` offline, from the genesis or from a header hash that the caller trusts.

    Raises ``ProofFailed``.
    """
    try:
        file = decode(ProofFile, raw, bytes_max=FILE_BYTES_MAX)
    except MalformedBytes as error:
        raise ProofFailed("file", error.detail) from error
    if file.format != FORMAT:
        raise ProofFailed("file", f"its format is {file.format[:40]!r}, not {FORMAT!r}")
    if not isinstance(file.subject, kind):
        raise ProofFailed("file", f"it is about a {file.subject.__struct_config__.tag}")
    if file.chain_id != genesis.chain_id:
        raise ProofFailed(
            "chain id", f"the file is of chain {file.chain_id.hex()}, the genesis {genesis.chain_id.hex()}"
        )
    chain = verify_chain(_trust(file.chain, genesis, trusted_hash), file.chain)
    rows = ProvenState(chain.newest.state_root, file.rows)
    found, figures = _guarded(lambda: _ABOUT[kind](rows.state, file.subject, chain, genesis))
    rows.require_all_read()
    by = f"{chain.signatures} of {chain.validators} validators"
    return Answer(file.subject, (*_chain_findings(chain), *found), by, _chain_figures(chain) | figures)


def _trust(proof: ChainProof, genesis: Genesis, trusted_hash: bytes | None) -> Trust:
    if not proof.anchor:
        if trusted_hash is not None and trusted_hash != genesis_trust(genesis).header_hash:
            raise ProofFailed("trusted header", "the file begins at the genesis: verify it without a trusted header")
        return genesis_trust(genesis)
    if trusted_hash is None:
        raise ProofFailed(
            "trusted header", f"the file begins at header {digest(proof.anchor).hex()}: name it if you trust it"
        )
    return header_trust(genesis.chain_id, trusted_hash, proof.anchor)


def _guarded(check: Callable[[], T]) -> T:
    """A rule that finds its own invariants broken, over rows of a file, has found a bad file."""
    try:
        return check()
    except (InvariantViolation, TransactionRejected) as error:
        raise ProofFailed("rows", str(error)) from error
    except msgspec.ValidationError as error:
        raise ProofFailed("rows", f"a row of another version: {error}") from error


def _chain_findings(chain: VerifiedChain) -> list[Finding]:
    first, newest = chain.trust.header.height, chain.newest
    start = "the genesis block" if first == 0 else f"the trusted header {first}"
    return [
        recomputed(
            f"{newest.height - first} headers follow one after the other from {start} to header {newest.height}, "
            f"of {time_text(newest.time_ms)}, and each is signed by a quorum of the validators that its parent "
            "announced."
        )
    ]


def _chain_figures(chain: VerifiedChain) -> dict[str, int | str]:
    return {
        "trusted_height": chain.trust.header.height,
        "height": chain.newest.height,
        "state_root": chain.newest.state_root.hex(),
        "signatures": chain.signatures,
        "validators": chain.validators,
    }


def _certified_state(chain: VerifiedChain) -> Finding:
    return certified(
        f"The state after block {chain.newest.height - 1}, in which all rows below lie, is what the rules make of the "
        "blocks up to it."
    )


Found = tuple[Sequence[Finding], dict[str, int | str]]


def _about_statement(state: StateReader, subject: Subject, chain: VerifiedChain, genesis: Genesis) -> Found:
    if not isinstance(subject, Statement):
        raise InvariantViolation("not a statement")
    sums, plan_name, account, offset_ms = read_statement(state, subject)
    member, charges, owed = sums.member, sums.charges, sums.owed
    day = calendar.day_of(chain.newest.time_ms + offset_ms)
    params = version_at(state, member.plan, day)[1].params
    standing = member_state(member, day, sums.plan, params, waits_from(state, member))
    found = [
        _certified_state(chain),
        recomputed(
            f"Member {subject.member} of plan {plan_name!r} has his row in this state: born in "
            f"{month_text(member.birth_month)}, identity {member.identity.hex()}; on {day_text(day)} he is {standing}."
        ),
        certified(f"He joined on {day_text(member.join_day)}, and his beginnings and ends are those of his rows."),
        recomputed(
            f"His bill since he joined is {rmb(sums.bill_fen)}: {len(charges)} settled periods, each charge "
            "recomputed from the running sums, his beginning and base, and the year's cap."
        ),
        recomputed(f"He owes {rmb(owed.total_fen)} now, as far as payments and failures stand in the rows."),
    ]
    if charges:
        found += [
            recomputed(
                f"In each of the {len(charges)} periods the share is what aid, fee, bad debt and carry of the "
                "settlement's row make of its counts and weights, rounded up to the fen."
            ),
            recomputed(
                f"In each of the {len(charges)} periods the frozen cohort of his birth month counts at least one "
                "member with his beginning and base."
            ),
            certified("Aid approved, members counted in other cohorts, carry before each period: as the rows say."),
        ]
    found.append(certified(f"The plan's carry is {rmb(account.carry)}, its bad debt {rmb(account.bad_debt)}."))
    return found, {
        "member": subject.member,
        "plan": member.plan,
        "identity": member.identity.hex(),
        "state": standing,
        "bill_fen": sums.bill_fen,
        "owed_fen": owed.total_fen,
        "periods": len(charges),
    }


def _about_settlement(state: StateReader, subject: Subject, chain: VerifiedChain, genesis: Genesis) -> Found:
    if not isinstance(subject, SettlementProof):
        raise InvariantViolation("not a settlement")
    sums = read_settlement(state, subject)
    row = sums.row
    members = sum(count for _, count in row.counts)
    due = day_text(calendar.day_of(calendar.settle_ms(row.period)))
    shares = ", ".join(f"{rmb(share)} (class {class_id})" for class_id, share in row.shares) or "none"
    found = [
        _certified_state(chain),
        recomputed(
            f"Period {row.period} of plan {sums.plan.name!r}, due on {due}, "
            f"counts {members} members: the sum of its {row.frozen_count} frozen rows with {sums.cohorts} cohorts."
        ),
        recomputed(
            f"Aid {rmb(row.aid_fen)}, fee {rmb(row.fee_fen)}, bad debt {rmb(row.bad_debt_fen)}, less carry "
            f"{rmb(row.carry_used_fen)}: G is {rmb(row.goal_fen)}, and each share is G·w / W rounded up: {shares}."
        ),
        recomputed(
            f"Rounding up brings {rmb(row.over_fen)} for the carry; cohort by cohort the members are charged "
            f"{rmb(row.charged_fen)}, and the sponsor {rmb(row.excess_fen)} above the year's cap."
        ),
        recomputed("The running sums after the period are those before it and its shares."),
        certified(f"The claims approved for it, {row.claims}, come to {rmb(row.aid_fen)}, and the carry was as said."),
    ]
    if row.sponsored:
        found.append(recomputed("The sponsor pays this period: no share is charged."))
    return found, {
        "plan": row.plan,
        "period": row.period,
        "members": members,
        "goal_fen": row.goal_fen,
        "over_fen": row.over_fen,
        "charged_fen": row.charged_fen,
        "excess_fen": row.excess_fen,
    }


def _about_draw(state: StateReader, subject: Subject, chain: VerifiedChain, genesis: Genesis) -> Found:
    if not isinstance(subject, DrawProof):
        raise InvariantViolation("not a draw")
    sums = read_draw(state, subject, chain, genesis.params)
    row = sums.row
    names = [state.get(Organisation, firm).name for firm in sums.assessors]
    found = [
        _certified_state(chain),
        recomputed(
            f"Draw {subject.draw}, opened in block {row.opened_height}, closed in block {row.closed_height}: its seed "
            f"{row.running.hex()} is the hash of the beacons of these {row.blocks} blocks, made by "
            f"{len(row.creators)} distinct validators, and each beacon is the only one that its creator could give."
        ),
        recomputed(f"In the state proven here the active assessors are: {', '.join(names) or 'none'}."),
        certified(f"The draw was opened in block {row.opened_height}, so before these beacons were known."),
    ]
    return found, {
        "draw": subject.draw,
        "opened_height": row.opened_height,
        "closed_height": row.closed_height,
        "seed": row.running.hex(),
        "assessors": ",".join(str(firm) for firm in sums.assessors),
    }


def _about_jury(state: StateReader, subject: Subject, chain: VerifiedChain, genesis: Genesis) -> Found:
    if not isinstance(subject, JuryProof):
        raise InvariantViolation("not a jury")
    sums = read_jury(state, subject, lambda draw_id: closed_draw(state, draw_id, chain, genesis.params))
    return [_certified_state(chain), *jury_proof.sentences(subject.dispute, sums)], jury_proof.figures(
        subject.dispute, sums.row
    )


def _about_transaction(state: StateReader, subject: Subject, chain: VerifiedChain, genesis: Genesis) -> Found:
    if not isinstance(subject, Inclusion):
        raise InvariantViolation("not a transaction")
    try:
        transaction = decode_transaction(subject.transaction)
        receipt = decode(Receipt, subject.receipt, bytes_max=FILE_BYTES_MAX)
    except MalformedBytes as error:
        raise ProofFailed("transaction", error.detail) from error
    name = transaction_id(subject.transaction)
    header, following = chain.header(subject.height), chain.header(subject.height + 1)
    if subject.height + 1 != chain.newest.height:
        raise ProofFailed("headers", f"header {subject.height + 1} is the last one that is needed")
    if not includes(header.txs_root, name, subject.path):
        raise ProofFailed("transaction", f"block {subject.height} does not hold {name.hex()} by this path")
    message = signed_digest(subject.transaction, genesis.chain_id, header.epoch)
    if not verify_signature(transaction.signer, message, transaction.signature):
        raise ProofFailed("transaction", "its signature does not verify")
    if receipt.subject != name or not includes(following.receipts_root, subject.receipt, subject.receipt_path):
        raise ProofFailed("receipt", f"header {subject.height + 1} does not certify it by this path")
    kind = str(transaction.body.__struct_config__.tag)
    detail = ", ".join(str(number) for number in receipt.detail)
    found = [
        recomputed(
            f"Block {subject.height}, of {time_text(header.time_ms)}, holds the transaction {name.hex()}: "
            f"{kind}, signed by {transaction.signer.hex()}."
        ),
        recomputed(f"Its receipt stands among those that header {subject.height + 1} certifies."),
        certified(f"Its result is {receipt.code}" + (f" ({detail})." if detail else ".")),
    ]
    return found, {"transaction": name.hex(), "block": subject.height, "kind": kind, "code": receipt.code}


_ABOUT: Final[dict[type[Subject], Callable[[StateReader, Subject, VerifiedChain, Genesis], Found]]] = {
    Statement: _about_statement,
    SettlementProof: _about_settlement,
    DrawProof: _about_draw,
    JuryProof: _about_jury,
    Inclusion: _about_transaction,
}


def pick_for_claim(answer: Answer, claim: int) -> Finding:
    """Whom a verified draw names for a claim, were all active assessors of the proven state candidates."""
    firms = [int(firm) for firm in str(answer.figures["assessors"]).split(",") if firm]
    if not firms:
        return recomputed("There is no active assessor to name.")
    firm = draws.pick(bytes.fromhex(str(answer.figures["seed"])), claim, firms)
    return recomputed(
        f"For claim {claim} the seed names organisation {firm}, if all these assessors stood for it; who did, "
        "is not proven here."
    )
