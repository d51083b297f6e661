"""The exception tree and the table of codes. Errors carry blame (DESIGN §5).

* ``InvariantViolation``: our bug. Nobody handles it: the process stops with a non-zero status.
* ``PeerError``: theirs. The peer is scored, disconnected, perhaps accused.
* ``TransactionRejected``: the client's. It becomes an HTTP problem or a failed receipt, with a stable code.
* ``OperatorError``: configuration, disk, keys. It becomes an exit code and a sentence: what, why, what next.
* ``ProofFailed``: whoever made the file that is verified. Nothing of the file may be believed.

Codes are stable for ever: they stand in receipts, which are hashed. The table below is append-only.
"""

from typing import Final


class HuzhuError(Exception):
    """Root of the tree; never raised itself."""


class InvariantViolation(HuzhuError):
    """A state our own code promised could not occur. Stop, exit non-zero."""


class PeerError(HuzhuError):
    """A peer broke the protocol. ``code`` names the rule; ``detail`` is for the log of both sides."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail


class OtherEpoch(PeerError):
    """A peer's next block is of another epoch than ours, and does not begin it: one of us has missed a recovery that
    dropped blocks (CONSENSUS §6). Nobody has lied.
    """

    def __init__(self, epoch: int, detail: str) -> None:
        super().__init__("OTHER_EPOCH", detail)
        self.epoch = epoch
        """Of the peer's block."""


class TransactionRejected(HuzhuError):
    """A client's transaction was refused; ``code`` is one of ``CODES``."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail


class MalformedBytes(TransactionRejected):
    """Bytes that are not the canonical encoding of the expected type, or exceed its size."""

    def __init__(self, detail: str) -> None:
        super().__init__("MALFORMED", detail)


class OperatorError(HuzhuError):
    """Something only the operator can mend.

    ``exit_code`` follows NODE §3: 1 failure, 2 usage, 3 configuration, 4 not reachable, 5 not ready, 6 integrity.
    """

    def __init__(self, code: str, what: str, why: str = "", next: str = "", *, exit_code: int = 3) -> None:
        super().__init__(": ".join(part for part in (what, why) if part))
        self.code = code
        self.what = what
        self.why = why
        self.next = next
        self.exit_code = exit_code


class ProofFailed(HuzhuError):
    """Something that was to be verified offline does not hold: ``where`` in the input, and ``why``."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where = where
        self.why = why


OK: Final = "OK"

CODES: Final[dict[str, str]] = {
    OK: "executed",
    # A transaction with one of these is never in a valid block.
    "MALFORMED": "not the canonical encoding of a transaction",
    "TOO_LARGE": "larger than the limit for its kind",
    "WRONG_VERSION": "transaction version is not supported by this protocol version",
    "BAD_SIGNATURE": "the signature does not verify for this chain and epoch",
    "EXPIRED": "a committed block is past valid_until, or began a newer epoch than it is signed for",
    "NOT_YET_VALID": "valid_until is more than the validity window ahead, or its epoch has not begun here",
    "DUPLICATE": "the same transaction id was committed within the validity window",
    # Admission (never in receipts).
    "MEMPOOL_FULL": "the node's mempool is full; try again after retry-after",
    "QUOTA_EXCEEDED": "the signer has too many transactions pending on this node",
    "NOT_READY": "the node is still catching up",
    "BAD_REQUEST": "the request body is not what the route takes",
    "NOT_FOUND": "there is no such thing on this chain",
    "RATE_LIMITED": "too many requests from this client; try again after retry-after",
    # Failed receipts: who may send what.
    "UNKNOWN_SIGNER": "the signing key belongs to no organisation and no member",
    "NOT_PERMITTED": "the signer's role may not send this transaction",
    "SIGNER_SUSPENDED": "the signing organisation is suspended",
    "CLOCK_NOT_STEPPED": "this chain's clock cannot be advanced",
    "CLOCK_BACKWARDS": "the ledger time is already at or past the requested time",
    # Failed receipts: plans and members.
    "UNKNOWN_PLAN": "no such plan",
    "UNKNOWN_MEMBER": "no such member",
    "DUPLICATE_MEMBER": "this identity is already a member of the plan",
    "AGE_OUT_OF_RANGE": "the age on the joining day is outside the plan's joining ages",
    "BAD_BIRTH_MONTH": "the birth month is not a calendar month before the joining day",
    "NOT_A_CURRENT_MEMBER": "the member's state does not allow this",
    "PLAN_CLOSED": "the plan takes no new members",
    "EMPTY_BATCH": "the batch holds nothing",
    # Failed receipts: claims.
    "UNKNOWN_CLAIM": "no such claim",
    "NO_SUCH_TRANSITION": "the claim's state does not allow this step",
    "NOT_THE_DRAWN_FIRM": "another firm was drawn for this claim",
    "SAME_FIRM": "the firm that investigated may not review",
    "OPEN_CLAIM": "the member already has an open claim in this plan",
    "ALREADY_HELPED": "the member was already helped by this plan",
    "NOT_COVERED": "the member was not covered on the diagnosis day",
    "WAITING_ILL": "the diagnosis falls into the waiting period",
    "FILED_TOO_LATE": "more than file_days after the diagnosis",
    "DIAGNOSIS_IN_FUTURE": "the diagnosis day is after the ledger's day",
    "UNKNOWN_TIER": "the plan has no such tier",
    "UNKNOWN_HOSPITAL": "the diagnosis is not signed by an admitted hospital",
    "NO_DIAGNOSIS": "the hospital's diagnosis is not on the chain yet",
    "DUPLICATE_DIAGNOSIS": "the claim already carries a hospital diagnosis",
    "UNKNOWN_REASON": "the reason code is not in the table",
    "WRONG_AMOUNT": "the amount is not the one the ledger computed",
    "DUPLICATE_REFERENCE": "this payment or receipt reference was already used",
    # Failed receipts: money.
    "UNKNOWN_PERIOD": "the period is not one this plan has noticed",
    "PERIOD_NOT_SETTLED": "the period is not settled yet",
    "PERIOD_CLOSED": "the period is closed",
    "PERIOD_NOTICED": "the period's notice is already out",
    "RANGE_OVERLAP": "the id range overlaps one reported before",
    "BAD_RANGE": "the id range or its failures are not ascending, or leave the members' table",
    "NOT_CHARGEABLE": "a reported id was not chargeable or has paid",
    "NOTHING_OWED": "there is nothing to pay",
    "INSUFFICIENT_CASH": "the plan's cash does not cover the payment",
    "ALREADY_SPONSORED": "the period is already sponsored",
    "BATCH_TOO_LARGE": "the batch holds more items than one transaction may carry",
    "KEY_IN_USE": "the key already belongs to an organisation or another member",
    "ARREARS_UNPAID": "what was written off when the member left is not paid yet",
    "UNKNOWN_COLLECTION": "no such collection",
    "COLLECTION_REPLACED": "a correction replaced this collection",
    "ALREADY_CONFIRMED": "the bank has confirmed this collection",
    "BAD_CORRECTION": "the collection to correct is another one: plan, period, reporter and range must agree",
    "BAD_FIELD": "a field of the body has the wrong size or is out of its range",
    "UNKNOWN_REFERENCE": "no payment order is out under this reference for this claim",
    "NO_REVIEWER": "the drawn reviewer is not named yet",
    # Failed receipts: documents, disputes, holds and remedies of claims.
    "DOCUMENTS_EXHAUSTED": "documents were asked for as often, or waited for as long, as the plan allows",
    "NOT_THE_CLAIMANT": "the claim is another member's",
    "NOT_INDEPENDENT": "the organisation is involved in the claim, or is the platform",
    "ALREADY_CONSENTED": "the organisation has said so already",
    "ORDER_OUT": "a payment order is out: the bank's word on it comes first",
    "NOT_DISPUTABLE": "a jury or a court cleared the claim, or objectors have disputed it once",
    "OWN_CLAIM": "nobody objects to his own claim",
    "NOT_IN_THE_NOTICE": "only members who share the period may object",
    "ALREADY_OBJECTED": "the member has objected already",
    "NO_OWN_KEY": "only members with their own key are jurors",
    "UNKNOWN_JUROR": "the member is no juror",
    "ALREADY_EXCLUDED": "the juror is excluded already",
    "EXCLUSIONS_FULL": "no more jurors may be excluded from this dispute",
    "NOT_ON_THE_JURY": "the member was not drawn for this claim",
    "WRONG_WINDOW": "the window for this ballot step is not open",
    "NO_BALLOT": "no ballot was committed",
    "BALLOT_MISMATCH": "vote and salt are not what was committed",
    "ALREADY_VOTED": "the ballot was committed or opened already",
    # Failed receipts: governance.
    "UNKNOWN_PROPOSAL": "no such proposal",
    "PROPOSAL_DECIDED": "the proposal is decided already",
    "NO_MAJORITY": "fewer than two thirds of the organisations were in favour when it was to be enacted",
    "UNKNOWN_ORGANISATION": "no such organisation",
    "NAME_IN_USE": "another organisation or plan has this name",
    "NOTHING_TO_DECIDE": "it is so already, or the organisation was removed",
    "HOLDS_A_SEAT": "the organisation holds a validator's seat",
    "ROLE_VACANT": "too few active organisations would hold a role that the plans need",
    "NOT_EFFECTIVE_YET": "the effective day is not after today and after every version decided before",
    "YEAR_CAP_IN_YEAR": "another annual cap begins on 1 January only",
    "CLASS_REUSED": "the id of a class keeps its weight, and a dropped one is not used again",
    "UNKNOWN_SEAT": "no such seat, or it votes no more",
    "TOO_MANY_SEATS": "the validator set is at its limit",
    "TOO_FEW_SEATS": "the change is a third of the validators or more, or fewer than four would be left: force it",
    "PLAN_FROZEN": "the regulator has frozen the plan, or it is in that state already",
    "PROPOSAL_OPEN": "the same is proposed already, and undecided: vote for that proposal (from protocol 2 on)",
    "NOT_NEXT_VERSION": "the protocol goes up by one version at a time",
    "UPGRADE_TOO_LATE": "the height is too near for an upgrade of the protocol, or for moving the one that is ahead",
    # HTTP only.
    "METHOD_NOT_ALLOWED": "the route exists, but not for this method",
    "UNSUPPORTED_MEDIA_TYPE": "the route does not take this content type",
    "TOO_MANY_WAITERS": "too many requests wait for a block on this node; ask for the transaction's state instead",
    "NOT_PROVABLE_YET": "the block that certifies this state has not come yet; try again after retry-after",
    "NOT_BORNE_OUT": "the rows contradict what is to be proven: a bug, or a damaged database; report it",
}

BLOCK_CODES: Final[dict[str, str]] = {
    # PeerError codes of an invalid block: each field and each rule of a body has its own. Never in receipts.
    "HEADER_MALFORMED": "not the canonical encoding of a header, or a field of the wrong size",
    "WRONG_PROTOCOL_VERSION": "the header's protocol version is not the one in force at its height",
    "WRONG_EPOCH": "the header is of another epoch",
    "WRONG_HEIGHT": "the header does not follow its parent's height",
    "WRONG_PARENT": "the header names another parent",
    "TIME_NOT_ABOVE_PARENT": "the header's time is not strictly above its parent's",
    "UNKNOWN_CREATOR": "the creator is no validator of this height",
    "WRONG_TX_COUNT": "the header's transaction count is out of range or not the body's",
    "WRONG_TXS_ROOT": "the header's txs_root is not that of the body",
    "WRONG_EVIDENCE_ROOT": "the header's evidence_root is not that of the body",
    "WRONG_VALIDATORS_HASH": "the header's validators_hash is not that of V(height)",
    "WRONG_NEXT_VALIDATORS_HASH": "the header's next_validators_hash is not that of V(height + 1)",
    "WRONG_PARAMS_HASH": "the header's params_hash is not that of the chain parameters",
    "WRONG_STATE_ROOT": "the header's state_root is not that after the parent",
    "WRONG_RECEIPTS_ROOT": "the header's receipts_root is not that of the parent",
    "BAD_BEACON": "the beacon is not the creator's, or its proof does not verify",
    "WRONG_CERTIFICATE_HASH": "the header's parent_certificate_hash is not that of the body's certificate",
    "BAD_PARENT_CERTIFICATE": "the parent's certificate in the body is not valid",
    "BODY_TOO_LARGE": "the body is larger than the limit",
    "DUPLICATE_TRANSACTION": "a transaction stands twice in the body",
    "TRANSACTION_EXPIRED": "a transaction's valid_until is before the block's time",
    "TRANSACTION_NOT_YET_VALID": "a transaction's valid_until is beyond the validity window",
    "TRANSACTIONS_BEFORE_DEADLINES": "a block that leaves due deadlines behind carries transactions",
    "BAD_EVIDENCE": "a piece of evidence is not two contradicting messages that one validator of its height signed",
    "EVIDENCE_TOO_OLD": "a piece of evidence is of a height too far below its block",
    "EVIDENCE_KNOWN": "the validator's contradiction is recorded, and that record is open or of no lower height",
    "TOO_MUCH_EVIDENCE": "the body holds more pieces of evidence than a block may",
    "UNEXPECTED_RECOVERY": "a recovery record stands where no epoch begins",
    "MISSING_RECOVERY": "the first block of an epoch does not hold the recovery record by which it begins",
    "BAD_RECOVERY": "a recovery record is not signed for a quorum of seats, or does not follow this head and epoch",
}
