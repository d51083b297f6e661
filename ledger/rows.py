"""The rows of the authenticated tables: what the state root certifies (LEDGER §1).

A row is one canonical value. ``State`` (``state.py``) reads and writes them by (row type, id). Everything that a rule
may depend on is in rows, headers, and the blocks of the last validity window; indexes are derived from rows.

Amounts are fen, days are calendar days of UTC+8, times are ledger milliseconds, periods count half-months from 2018,
ids are dense from 0. ``NONE`` stands for "no id", ``NO_END`` for "no last period".
"""

from typing import ClassVar, Final

from .actions import Action
from .codec import Wire
from .params import PlanParams
from .tables import Table

NONE: Final = -1
NO_END: Final = 65_535


class Row(Wire, frozen=True):
    """Base of all rows; ``table`` is where they live."""

    table: ClassVar[Table]


class Clock(Row, frozen=True):
    """Row 1 of ``meta`` (row 0 binds the tables' lengths): the offset of ledger time, 0 in production.

    The ledger time itself is not a row: it would change the root at every block, and blocks would stay due for ever.
    """

    table: ClassVar[Table] = Table.META
    offset_ms: int
    """Ledger time = consensus time + this, from the next block on."""
    clock_key: bytes
    """The key that may advance the clock; empty in production."""


class Upgrade(Row, frozen=True):
    """Row 2 of ``meta``, there from the first upgrade on: the newest one decided (``upgrades``)."""

    table: ClassVar[Table] = Table.META
    version: int
    """Of the protocol, of every block from ``height`` on; the blocks below have the one before."""
    height: int


class Plan(Row, frozen=True):
    """A plan's running state. Its parameters are ``PlanVersion`` rows."""

    table: ClassVar[Table] = Table.PLANS
    name: str
    first_period: int
    period: int
    """The period whose deadline comes next."""
    stage: int
    """0: notice is next; 1: settlement is next; 2: close is next."""
    due_ms: int
    """When that deadline is due."""
    settlement: int
    """Row of the period in progress in ``settlements`` (stages 1, 2), or ``NONE``."""
    year: int
    """Calendar year of the last notice; cohorts collapse when it changes."""
    index: tuple[tuple[int, int], ...]
    """Running sums I[c] as (class id, fen), ascending by class: Σ u[c] over all settled periods."""
    year_index: tuple[tuple[int, int], ...]
    """I[c] at the start of ``year``."""
    last_charged: int
    """The newest *closed* period in which something was owed, or ``NONE``: arrears are live if it was failed."""
    sponsored: tuple[int, ...]
    """Periods not noticed yet that the platform will pay, ascending (LEDGER §8)."""
    surplus: tuple[tuple[int, int], ...]
    """(period, fen) collected above what was expected and not refunded yet, ascending; after a year it is CARRY's."""
    ends_day: int
    """The last day of cover of a plan that runs off; 0 while it goes on."""
    closed: bool
    """Run off: no deadline comes any more."""
    frozen: bool
    """By the regulator: its deadlines stand still."""


class PlanVersion(Row, frozen=True):
    """Parameters of a plan in force from ``effective_day``."""

    table: ClassVar[Table] = Table.PLAN_VERSIONS
    plan: int
    version: int
    effective_day: int
    params: PlanParams


class Organisation(Row, frozen=True):
    """An organisation of the consortium. ``roles`` is a bit set of ``roles.Role``."""

    table: ClassVar[Table] = Table.ORGANISATIONS
    name: str
    key: bytes
    roles: int
    state: int
    """0 active, 1 suspended, 2 removed."""
    node_keys: tuple[bytes, ...]
    """X25519 keys of its nodes (validator or observer): the allow-list of links."""
    address: str
    """host:port hint of its node; may be empty."""


class Validator(Row, frozen=True):
    """A seat. Ids of rows are seats. ``fails`` and ``skipped_until`` are the skip rule's (CONSENSUS §2)."""

    table: ClassVar[Table] = Table.VALIDATORS
    organisation: int
    validator_key: bytes
    beacon_key: bytes
    active: bool
    fails: int
    skipped_until: int
    """Not eligible as proposer below this height (at most f seats at a time)."""
    changed_height: int
    """The block that set ``skipped_until``; 0: none."""
    previous_skipped_until: int
    """``skipped_until`` before that block, so that eligible(h - 1) can be told from the rows after h - 1."""


class Member(Row, frozen=True):
    """A member of one plan. WAITING, GRACE's end and birthdays are derived, never fired (LEDGER §4).

    At most 15 fields (a longer array costs every member two bytes more), and small numbers where nothing happened.
    """

    table: ClassVar[Table] = Table.MEMBERS
    identity: bytes
    join_day: int
    """Day on which the present span began; waiting counts from the day after it."""
    birth_month: int
    plan: int
    state: int
    """``members.MemberState``."""
    from_period: int
    to_period: int
    """First period no longer charged, or ``NO_END``."""
    to_day: int
    """First day no longer covered; 0 while covered. A lapse ends on the day its period closed, and leaves 0 here."""
    base_fen: int
    """Charged in the year of ``from_period`` by earlier spans of that year."""
    billed_fen: int
    """The bill of all earlier spans."""
    fail_period: int
    """The newest period whose debit failed, or ``NONE``."""
    fails: int
    """Charged periods failed in a row up to ``fail_period``."""
    arrears_fen: int
    """Owed up to ``fail_period``; paid, though still here, once a later charged period closed without a failure."""
    paid_period: int
    """The newest period paid by single contribution before its close, or ``NONE``."""
    previous_span: int
    """Newest row of ``spans`` of this member, or ``NONE``."""


class Span(Row, frozen=True):
    """A closed span of a member's life: ``from_period`` to ``to_period`` exclusive."""

    table: ClassVar[Table] = Table.SPANS
    member: int
    from_period: int
    to_period: int
    from_day: int
    to_day: int
    """Covered from the end of waiting after ``from_day`` up to ``to_day`` exclusive."""
    base_fen: int
    previous_span: int
    continued: bool
    """The span that follows goes on with this one's waiting (reinstated, or a suspension lifted)."""


class Cohort(Row, frozen=True):
    """Live counts of chargeable members of one plan and birth month: (from if in this year else 0, base, count)."""

    table: ClassVar[Table] = Table.COHORTS
    plan: int
    birth_month: int
    counts: tuple[tuple[int, int, int], ...]
    """Ascending by (from, base); no zero counts."""


class Frozen(Row, frozen=True):
    """The cohort of one birth month as it stood at the notice of ``period``."""

    table: ClassVar[Table] = Table.FROZEN
    plan: int
    period: int
    birth_month: int
    counts: tuple[tuple[int, int, int], ...]


class Account(Row, frozen=True):
    """The journal of one plan (id = plan id). LEDGER §9's equation holds after every block."""

    table: ClassVar[Table] = Table.ACCOUNTS
    cash: int
    due: int
    """Σ DUE[p]; each period's own DUE is in its settlement."""
    arrears: int
    sponsor: int
    bad_debt: int
    claims: int
    fee: int
    carry: int
    advance: int
    refunds: int
    clearing: int


class Claim(Row, frozen=True):
    """A claim and where it stands (LEDGER §5)."""

    table: ClassVar[Table] = Table.CLAIMS
    plan: int
    member: int
    tier: int
    illness: int
    cause: int
    diagnosis_day: int
    region: int
    fingerprint: bytes
    salt: bytes
    state: int
    """``claim_table.ClaimState``."""
    held_from: int
    """The state in which a fraud hold found it, or ``NONE``."""
    held_opened_ms: int
    held_due_ms: int
    """``opened_ms`` and ``due_ms`` of that state: the hold stops its clock."""
    opened_ms: int
    """When the present state was entered."""
    due_ms: int
    """When the present state's deadline is due; 0 when it has none."""
    draw: int
    """Newest draw of an investigator or a jury, or ``NONE``; waited for while INVESTIGATING without an investigator, or
    in JURY without a deadline."""
    investigator: int
    review_draw: int
    """Newest draw of a reviewer (only after an overdue review), or ``NONE``."""
    reviewer: int
    passed_over: tuple[int, ...]
    """Firms that were drawn and let their time run out."""
    report: bytes
    hospital: int
    diagnosis: bytes
    reason: int
    documents_asked: int
    """How often documents were asked for."""
    documents_days: int
    """Days used up waiting for them, each begun day counted."""
    consents: tuple[tuple[int, int, int], ...]
    """(``claim_table.Event``, organisation, reason): who agreed to a step of the present state that needs several."""
    dispute: int
    """Newest row of ``disputes``, or ``NONE``."""
    objected: bool
    """Objectors have already sent it to a jury: never again."""
    judge: int
    """``claim_table.Judge``: who had the last word; what a jury or a court cleared is not disputable."""
    judgment: bytes
    """SHA-256 of the newest judgment of a court on it; empty when there is none."""
    helped_from: int
    """The member's state before the settlement made him BENEFITED, or ``NONE``: what a reversal restores."""
    helped_to_day: int
    """His ``to_day`` before it."""
    recovered_fen: int
    """Clawed back so far."""
    period: int
    """The period it was noticed for, or ``NONE``."""
    amount_fen: int
    reference: bytes
    """Reference of the payment order that is out; empty when there is none (before it, or after it bounced)."""


class Settlement(Row, frozen=True):
    """One period of one plan: everything that a member needs to recompute a share (LEDGER §8)."""

    table: ClassVar[Table] = Table.SETTLEMENTS
    plan: int
    period: int
    stage: int
    """1 noticed, 2 settled, 3 closed."""
    version: int
    """Row of ``plan_versions`` in force at the notice."""
    noticed_ms: int
    settled_ms: int
    closed_ms: int
    sponsored: bool
    counts: tuple[tuple[int, int], ...]
    """N[c] frozen at the notice, as (class id, members)."""
    claims: int
    """Claims noticed, later settled."""
    upper_bound: tuple[tuple[int, int], ...]
    """u[c] may not exceed this."""
    bad_debt_noticed: int
    aid_fen: int
    fee_fen: int
    bad_debt_fen: int
    carry_used_fen: int
    over_fen: int
    goal_fen: int
    """G = need - carry used."""
    shares: tuple[tuple[int, int], ...]
    """u[c]; 0 in a sponsored period."""
    would_be: tuple[tuple[int, int], ...]
    """u[c] that a sponsored period would have had; empty otherwise."""
    index: tuple[tuple[int, int], ...]
    """I[c][period + 1]: running sums after this period."""
    charged_fen: int
    """Σ charge at the settlement."""
    excess_fen: int
    """The sponsor's part above the annual cap."""
    due_fen: int
    """DUE[p]: what is still open of it; 0 once closed."""
    singles_fen: int
    """Of DUE[p], paid by single contributions before the close."""
    leavers_fen: int
    """Arrears of members who left after the notice; written off at the close when nothing was owed for the period."""
    arrears_debited_fen: int
    """Arrears debited again with the period, as of its close."""
    failures: int
    """Members whose debit failed, in all ranges not replaced."""
    failed_due_fen: int
    failed_arrears_fen: int
    """Of those failures: charges of the period, and older arrears debited with them."""
    written_off_fen: int
    """Of those failures: what members who lapse or leave with this period take with them."""
    struck: tuple[tuple[int, int, int, int], ...]
    """(birth month, from, base, count) of those who died or were voided after the notice: their charges are written
    off at the settlement. Ascending."""
    struck_fen: int
    """Charges of the period written off at the settlement, or while it was open, for the dead and voided."""
    collected_fen: int
    """Confirmed by the bank into CLEARING before the close."""
    short_fen: int
    """Expected at the close and not there: the reporting organisation owes it."""
    surplus_fen: int
    """Confirmed above what was expected: to be refunded."""
    frozen_first: int
    frozen_count: int
    """This period's rows in ``frozen``: ids first to first + count - 1, ascending by birth month."""


class Collection(Row, frozen=True):
    """A reported id range of one period with its failures, as differences (LEDGER §8)."""

    table: ClassVar[Table] = Table.COLLECTIONS
    plan: int
    period: int
    reporter: int
    """Organisation that reported it and owes what is missing at the close."""
    first: int
    last: int
    """Inclusive."""
    failures: tuple[int, ...]
    """As in ``transactions.Collect``."""
    failed_fen: int
    """Σ (due + arrears) of the failures when they were reported."""
    corrected_by: int
    """The collection that replaced this one, or ``NONE``."""
    confirmed_fen: int
    """What the bank confirmed; 0 until then."""


class Payment(Row, frozen=True):
    """A bank's word that money moves, under a reference used once per chain. Bounced ones stay: the rule that a
    reference is unique must not forget any of them."""

    table: ClassVar[Table] = Table.ATTESTATIONS
    kind: int
    """``references.PaymentKind``: which transaction brought it."""
    subject: int
    """Claim, collection, member or plan, by kind."""
    amount_fen: int
    reference: bytes


class Draw(Row, frozen=True):
    """Collects beacons after the block that opened it; shared by everything that block drew (LEDGER §7)."""

    table: ClassVar[Table] = Table.DRAWS
    opened_height: int
    blocks: int
    creators: tuple[bytes, ...]
    """Distinct creators so far, ascending."""
    running: bytes
    closed_height: int
    """0 while open; then ``running`` is the seed."""


class Dispute(Row, frozen=True):
    """A claim before a jury, with all that is needed to recompute the draw later (LEDGER §7)."""

    table: ClassVar[Table] = Table.DISPUTES
    claim: int
    kind: int
    """``disputes.Kind``: an appeal or objections."""
    stage: int
    """``disputes.Stage``."""
    outcome: int
    """``disputes.Outcome``; 0 while open."""
    salt: bytes
    opened_ms: int
    objectors: tuple[int, ...]
    """Members who object, in the order in which they came."""
    excluded: tuple[tuple[int, int, int], ...]
    """(juror, ``jury.Exclusion``, organisation that declared it), before the draw."""
    draw: int
    """Newest row of ``draws`` for its jury, or ``NONE``."""
    day: int
    """The day on which the draw was opened: exams must be older than this by ``jury_exam_days``."""
    jurors: int
    """Length of the jurors' table then: who registered later is not drawn."""
    panel: int
    """Jurors wanted at most."""
    seed: bytes
    """Empty until drawn."""
    drawn: tuple[int, ...]
    """Juror ids in the order of the draw."""
    rejected: tuple[tuple[int, int], ...]
    """(juror, ``jury.Exclusion``) of those who were hit and could not serve, in the order of the draw."""
    clear: int
    """Valid ballots that clear the claim."""
    refuse: int


class Ballot(Row, frozen=True):
    """A drawn juror's hidden ballot: committed first, opened in the reveal window."""

    table: ClassVar[Table] = Table.BALLOTS
    dispute: int
    juror: int
    commitment: bytes
    vote: int
    """``jury.Vote``; 0 until it is opened."""


class Juror(Row, frozen=True):
    """A member with his own key who passed the exam."""

    table: ClassVar[Table] = Table.JURORS
    member: int
    exam_day: int
    open_cases: int
    """Juries he sits on now."""


class Evidence(Row, frozen=True):
    """Documents that a claimant gave: a salted commitment (LEDGER §6)."""

    table: ClassVar[Table] = Table.EVIDENCE
    claim: int
    given_ms: int
    commitment: bytes
    salt: bytes


class AccessEntry(Row, frozen=True):
    """An organisation opened a claim's papers (``access``)."""

    table: ClassVar[Table] = Table.ACCESS_LOG
    claim: int
    organisation: int
    purpose: int
    """``access.Purpose``."""
    at_ms: int
    """Ledger time."""


class BankAttestation(Row, frozen=True):
    """What the bank says a plan's account holds, beside the journal's CASH when it said so."""

    table: ClassVar[Table] = Table.BANK_ATTESTATIONS
    plan: int
    bank: int
    """The organisation that said so."""
    day: int
    """Of the bank's books."""
    balance_fen: int
    cash_fen: int
    difference_fen: int
    """balance - cash."""


class Proposal(Row, frozen=True):
    """What the organisations decide together (``governance``)."""

    table: ClassVar[Table] = Table.PROPOSALS
    action: Action
    proposer: int
    """The organisation; ``NONE``: the rules themselves (``plan_cycle``, or after a contradiction)."""
    state: int
    """``governance.ProposalState``."""
    opened_ms: int
    due_ms: int
    """When the votes end, or when it is enacted; 0 once decided."""
    in_favour: tuple[int, ...]
    """Organisations, ascending."""
    enacted_height: int
    """The block that enacted it, or tried to; 0 before."""
    code: str
    """OK, or why it failed when its time had come; empty before."""


class MemberKey(Row, frozen=True):
    """A member's own key; the newest row of a member whose time has come counts."""

    table: ClassVar[Table] = Table.MEMBER_KEYS
    member: int
    key: bytes
    since_ms: int
    """From this ledger time on it acts; 0: at once. A recovery by the platform waits."""


class Fingerprint(Row, frozen=True):
    """An event that a claim was filed for, to find the same event in another plan (LEDGER §6)."""

    table: ClassVar[Table] = Table.FINGERPRINTS
    fingerprint: bytes
    diagnosis_day: int
    claim: int


class Contradiction(Row, frozen=True):
    """Two messages of one validator that no honest one signs both, as a block's evidence proved it (CONSENSUS §4).

    It is open while the proposal that it made is undecided: the organisations are asked, nobody is removed by itself.
    """

    table: ClassVar[Table] = Table.CONTRADICTIONS
    seat: int
    validator_key: bytes
    """That signed both; the seat's at that height."""
    epoch: int
    height: int
    """Of the two messages."""
    kind: int
    """``evidence.Kind``."""
    recorded_height: int
    evidence_hash: bytes
    """SHA-256 of the canonical evidence in the body of block ``recorded_height``."""
    proposal: int
    """That asks to remove the seat; ``NONE`` when it had left already."""
