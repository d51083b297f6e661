"""The transaction and its bodies (DESIGN §2).

``[version, body, signer, valid_until_ms, salt, signature]``, id = SHA-256 of all of it. No nonces: a collector sends in
parallel. The signature covers the first five fields; their canonical array is cut from the received bytes, so nothing
is encoded again to be verified. ``signer`` is the public key itself, so a signature is checked without state.

A body is a tagged array whose first element is its name, so that a stranger can read a block with any MessagePack tool.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final

from .actions import Action
from .codec import Wire, decode, digest, encode
from .errors import TransactionRejected
from .limits import (
    SALT_BYTES,
    SINGLE_TRANSACTION_BYTES_MAX,
    TRANSACTION_BYTES_MAX,
    TRANSACTION_VERSION,
)
from .signing import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, Domain, sign, signing_digest, signing_prefix


class AdvanceClock(Wire, frozen=True, tag="advance_clock"):
    """Clock key of a stepped chain: from the next block on the ledger time continues from ``to_ms``."""

    to_ms: int


class Enrol(Wire, frozen=True, tag="enrol"):
    """PLATFORM, or the member himself with ``member_key`` as signer: joins ``plan``."""

    plan: int
    identity: bytes
    """Keyed hash of the person for this plan, 32 bytes; no personal data."""
    birth_month: int
    """year·12 + (month - 1)."""
    member_key: bytes
    """Ed25519 key of a member who wants one; empty for a custodial member."""


class EnrolBatch(Wire, frozen=True, tag="enrol_batch"):
    """PLATFORM: custodial members, each (identity, birth month). Known identities are skipped and counted."""

    plan: int
    members: tuple[tuple[bytes, int], ...]


class Exit(Wire, frozen=True, tag="exit"):
    """PLATFORM, or the member's own key."""

    member: int


class ExitBatch(Wire, frozen=True, tag="exit_batch"):
    """PLATFORM: member ids, strictly ascending. Those that are not current members are skipped and counted."""

    plan: int
    members: tuple[int, ...]


class FileClaim(Wire, frozen=True, tag="file_claim"):
    """PLATFORM or the member's own key: – -> FILED."""

    member: int
    tier: int
    illness: int
    """Code of the illness catalogue."""
    cause: int
    """``params.ILLNESS`` or ``params.ACCIDENT``."""
    diagnosis_day: int
    region: int
    """Coarse region code; notices show bands only (LEDGER §6)."""
    fingerprint: bytes
    """Keyed hash of (identity, illness group), 32 bytes."""
    salt: bytes


class Diagnose(Wire, frozen=True, tag="diagnose"):
    """HOSPITAL: the diagnosis of a claim as a salted commitment (32 bytes)."""

    claim: int
    commitment: bytes


class Assess(Wire, frozen=True, tag="assess"):
    """The drawn ASSESSOR: INVESTIGATING -> ASSESSED with a salted commitment to the report (32 bytes)."""

    claim: int
    commitment: bytes


class Review(Wire, frozen=True, tag="review"):
    """A second ASSESSOR: ASSESSED -> CLEARED (``reason`` 0) or REFUSED (a coded reason)."""

    claim: int
    reason: int


class Pay(Wire, frozen=True, tag="pay"):
    """BANK: SETTLED -> PAYING, the order went out under a unique ``reference``."""

    claim: int
    amount_fen: int
    reference: bytes


class ConfirmPayment(Wire, frozen=True, tag="confirm_payment"):
    """BANK: PAYING -> PAID, or stays PAYING when the payment bounced."""

    claim: int
    reference: bytes
    paid: bool


class SponsorPeriod(Wire, frozen=True, tag="sponsor_period"):
    """PLATFORM, before the notice of ``period``, irrevocable: the platform pays this period."""

    plan: int
    period: int


class SponsorPayment(Wire, frozen=True, tag="sponsor_payment"):
    """BANK: the sponsor's money arrived."""

    plan: int
    amount_fen: int
    reference: bytes


class Collect(Wire, frozen=True, tag="collect"):
    """PLATFORM: the debits of members ``first`` to ``last`` inclusive for ``period`` went through, but ``failures``.

    ``failures`` are differences: the first counted from ``first``, each next from its predecessor (0 only in front).
    ``corrects`` is 0, or 1 + the id of the collection this one replaces; number, range and period must then agree.
    """

    plan: int
    period: int
    first: int
    last: int
    failures: tuple[int, ...]
    corrects: int


class ConfirmCollection(Wire, frozen=True, tag="confirm_collection"):
    """BANK: the money of a collected range arrived."""

    collection: int
    amount_fen: int
    reference: bytes


class Contribution(Wire, frozen=True, tag="contribution"):
    """BANK: one member paid exactly what he owes for ``periods`` (strictly ascending), outside a collection."""

    member: int
    periods: tuple[int, ...]
    amount_fen: int
    reference: bytes


class PayFee(Wire, frozen=True, tag="pay_fee"):
    """BANK: paid the platform's fee out of the plan's cash; last in the order claims, refunds, advance, fee."""

    plan: int
    amount_fen: int
    reference: bytes


class Advance(Wire, frozen=True, tag="advance"):
    """BANK: the platform advanced cash to the plan (``repay`` false), or was repaid."""

    plan: int
    amount_fen: int
    repay: bool
    reference: bytes


class PayRefund(Wire, frozen=True, tag="pay_refund"):
    """BANK: paid refunds owed by the plan."""

    plan: int
    amount_fen: int
    reference: bytes


class RotateMemberKey(Wire, frozen=True, tag="rotate_member_key"):
    """The member's own key: another one at once. PLATFORM: recovery of a lost key, after ``RECOVERY_DAYS``."""

    member: int
    member_key: bytes


class ReportDeath(Wire, frozen=True, tag="report_death"):
    """PLATFORM: the member died on ``day``; what was noticed after it is undone."""

    member: int
    day: int


class SuspendMember(Wire, frozen=True, tag="suspend_member"):
    """PLATFORM or REGULATOR: neither charged nor covered from now on (``suspended``), or no longer so."""

    member: int
    suspended: bool


class ExpelMember(Wire, frozen=True, tag="expel_member"):
    """REGULATOR: excluded for good."""

    member: int


# ---- claims beyond the main path (LEDGER §5, §7) ---------------------------------------------------------------------


class AskDocuments(Wire, frozen=True, tag="ask_documents"):
    """ASSESSOR: FILED -> DOCS_PENDING, at most twice."""

    claim: int


class GiveDocuments(Wire, frozen=True, tag="give_documents"):
    """The claimant: DOCS_PENDING -> FILED with a salted commitment (32 bytes) to the documents."""

    member: int
    claim: int
    commitment: bytes
    salt: bytes


class Withdraw(Wire, frozen=True, tag="withdraw"):
    """The claimant, before a jury is drawn: -> WITHDRAWN."""

    member: int
    claim: int


class Appeal(Wire, frozen=True, tag="appeal"):
    """The claimant: REFUSED -> DISPUTED."""

    member: int
    claim: int
    salt: bytes


class Opinion(Wire, frozen=True, tag="opinion"):
    """An organisation not involved, or the regulator, on a claim in EXPERT: ``reason`` 0 clears."""

    claim: int
    reason: int


class HoldClaim(Wire, frozen=True, tag="hold_claim"):
    """ASSESSOR and REGULATOR, one each: -> FRAUD_HOLD, or SETTLED, PAYING -> STOPPED."""

    claim: int


class FreeClaim(Wire, frozen=True, tag="free_claim"):
    """ASSESSOR and REGULATOR, one each: FRAUD_HOLD -> where it was held, or STOPPED -> PAYING."""

    claim: int


class RejectClaim(Wire, frozen=True, tag="reject_claim"):
    """ASSESSOR and REGULATOR, one each, for the same reason: FRAUD_HOLD, STOPPED -> REFUSED_FINAL."""

    claim: int
    reason: int


class CourtOrder(Wire, frozen=True, tag="court_order"):
    """REGULATOR, with the SHA-256 of the judgment: REFUSED_FINAL, EXPIRED -> CLEARED."""

    claim: int
    judgment: bytes


class ClawBack(Wire, frozen=True, tag="claw_back"):
    """REGULATOR, with the SHA-256 of the judgment: PAID -> CLAWBACK."""

    claim: int
    judgment: bytes


class RecoverAid(Wire, frozen=True, tag="recover_aid"):
    """BANK: clawed-back money arrived; with the last fen CLAWBACK -> RECOVERED."""

    claim: int
    amount_fen: int
    reference: bytes


class WriteOffAid(Wire, frozen=True, tag="write_off_aid"):
    """REGULATOR, with the SHA-256 of the decision: CLAWBACK -> WRITTEN_OFF, what is missing will not come."""

    claim: int
    judgment: bytes


class ObjectTo(Wire, frozen=True, tag="object_to"):
    """A member's own key: objects to a noticed claim; the last of ``objectors_min`` makes it DISPUTED."""

    member: int
    claim: int
    salt: bytes


class PassExam(Wire, frozen=True, tag="pass_exam"):
    """PLATFORM: a member with his own key passed the jurors' exam today."""

    member: int


class ExcludeJuror(Wire, frozen=True, tag="exclude_juror"):
    """Any organisation, before the jury's draw: a member may not judge this claim (``jury.Exclusion``)."""

    claim: int
    member: int
    reason: int


class CommitBallot(Wire, frozen=True, tag="commit_ballot"):
    """A drawn juror's own key: ``jury.commitment`` of his vote, in the commit window."""

    member: int
    claim: int
    commitment: bytes


class RevealBallot(Wire, frozen=True, tag="reveal_ballot"):
    """The same juror: his vote (``jury.Vote``) and its salt, in the reveal window."""

    member: int
    claim: int
    vote: int
    salt: bytes


class RefundSurplus(Wire, frozen=True, tag="refund_surplus"):
    """BANK: sent back what was collected for ``period`` above what was expected."""

    plan: int
    period: int
    amount_fen: int
    reference: bytes


class AttestBalance(Wire, frozen=True, tag="attest_balance"):
    """BANK: what the plan's account held at the end of ``day``."""

    plan: int
    day: int
    balance_fen: int


class Propose(Wire, frozen=True, tag="propose"):
    """An organisation with a vote: a proposal, and its vote for it."""

    action: Action


class VoteFor(Wire, frozen=True, tag="vote_for"):
    """An organisation with a vote is in favour. Who is not says nothing."""

    proposal: int


class Veto(Wire, frozen=True, tag="veto"):
    """REGULATOR: objects to a proposal before it is enacted."""

    proposal: int


class FreezePlan(Wire, frozen=True, tag="freeze_plan"):
    """REGULATOR: a plan's deadlines and payments stand still (``frozen``), or go on."""

    plan: int
    frozen: bool


class RotateKey(Wire, frozen=True, tag="rotate_key"):
    """An organisation's own key: another one from now on."""

    key: bytes


class SetNodes(Wire, frozen=True, tag="set_nodes"):
    """An organisation's own nodes: these link keys (X25519), found at this address (host:port, or empty)."""

    node_keys: tuple[bytes, ...]
    address: str


class NoteAccess(Wire, frozen=True, tag="note_access"):
    """Any organisation, before it reads a claim's papers: what for (``access.Purpose``)."""

    claim: int
    purpose: int


TransactionBody = (
    AdvanceClock
    | Enrol
    | EnrolBatch
    | Exit
    | ExitBatch
    | FileClaim
    | Diagnose
    | Assess
    | Review
    | Pay
    | ConfirmPayment
    | SponsorPeriod
    | SponsorPayment
    | Collect
    | ConfirmCollection
    | Contribution
    | PayFee
    | Advance
    | PayRefund
    | RotateMemberKey
    | ReportDeath
    | SuspendMember
    | ExpelMember
    | RefundSurplus
    | AttestBalance
    | Propose
    | VoteFor
    | Veto
    | FreezePlan
    | AskDocuments
    | GiveDocuments
    | Withdraw
    | Appeal
    | Opinion
    | HoldClaim
    | FreeClaim
    | RejectClaim
    | CourtOrder
    | ClawBack
    | RecoverAid
    | WriteOffAid
    | ObjectTo
    | PassExam
    | ExcludeJuror
    | CommitBallot
    | RevealBallot
    | RotateKey
    | SetNodes
    | NoteAccess
)

BATCH_BODIES: Final = (EnrolBatch, ExitBatch, Collect)
"""Kinds that may be as large as ``TRANSACTION_BYTES_MAX``; all others ``SINGLE_TRANSACTION_BYTES_MAX``."""


class Transaction(Wire, frozen=True):
    """A signed transaction; see the head of this file."""

    version: int
    body: TransactionBody
    signer: bytes
    valid_until_ms: int
    salt: bytes
    signature: bytes


class _Unsigned(Wire, frozen=True):
    version: int
    body: TransactionBody
    signer: bytes
    valid_until_ms: int
    salt: bytes


_SIX: Final = 0x96
_FIVE: Final = b"\x95"
_SIGNATURE_HEAD: Final = bytes((0xC4, SIGNATURE_BYTES))
_TAIL_BYTES: Final = len(_SIGNATURE_HEAD) + SIGNATURE_BYTES


def transaction_id(raw: bytes) -> bytes:
    """SHA-256 of the transaction's bytes as received."""
    return digest(raw)


def decode_transaction(raw: bytes) -> Transaction:
    """Decode and check the shape of a transaction; the signature is not verified here.

    Raises ``TransactionRejected`` with MALFORMED, TOO_LARGE or WRONG_VERSION.
    """
    if len(raw) > TRANSACTION_BYTES_MAX:
        raise TransactionRejected("TOO_LARGE", f"{len(raw)} bytes, at most {TRANSACTION_BYTES_MAX}")
    transaction = decode(Transaction, raw, bytes_max=TRANSACTION_BYTES_MAX)
    if transaction.version != TRANSACTION_VERSION:
        raise TransactionRejected("WRONG_VERSION", f"yours {transaction.version}, ours {TRANSACTION_VERSION}")
    if len(raw) > SINGLE_TRANSACTION_BYTES_MAX and not isinstance(transaction.body, BATCH_BODIES):
        raise TransactionRejected("TOO_LARGE", f"{len(raw)} bytes, at most {SINGLE_TRANSACTION_BYTES_MAX} for its kind")
    if len(transaction.signer) != PUBLIC_KEY_BYTES or len(transaction.signature) != SIGNATURE_BYTES:
        raise TransactionRejected("MALFORMED", "a key has 32 bytes, a signature 64")
    if len(transaction.salt) != SALT_BYTES:
        raise TransactionRejected("MALFORMED", f"a salt has {SALT_BYTES} bytes")
    return transaction


def signed_digest(raw: bytes, chain_id: bytes, epoch: int) -> bytes:
    """The 32 bytes that the signature of an already decoded ``raw`` covers.

    The array of the first five fields is the received array with another head and without its last element.
    """
    return digest(signed_prefix(chain_id, epoch) + raw[1:-_TAIL_BYTES])


def signed_digests(raws: Iterable[bytes], chain_id: bytes, epoch: int) -> list[bytes]:
    """``signed_digest`` of each."""
    prefix = signed_prefix(chain_id, epoch)
    return [sha256(prefix + raw[1:-_TAIL_BYTES]).digest() for raw in raws]


def signed_prefix(chain_id: bytes, epoch: int) -> bytes:
    """What is hashed before a transaction's signed bytes, from the second one on."""
    return signing_prefix(Domain.TRANSACTION, chain_id, epoch) + _FIVE


def sign_transaction(
    body: Any, *, seed: bytes, signer: bytes, valid_until_ms: int, salt: bytes, chain_id: bytes, epoch: int
) -> bytes:
    """The bytes of a signed transaction. ``seed`` (32 bytes) is the private half of ``signer``."""
    unsigned = encode(_Unsigned(TRANSACTION_VERSION, body, signer, valid_until_ms, salt))
    signature = sign(seed, signing_digest(Domain.TRANSACTION, chain_id, epoch, unsigned))
    return bytes((_SIX,)) + unsigned[1:] + _SIGNATURE_HEAD + signature
