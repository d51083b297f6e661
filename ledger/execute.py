"""Executing transactions: who may send one, and the rule of its body (LEDGER §2).

Each body has one function (state, body, sender) -> detail of the receipt. A rule refuses with ``TransactionRejected``;
it runs inside ``State.attempt``, so a refused transaction leaves no trace.

A body of which a block carries thousands may have a *run* as well: what those that follow one another have in common
is looked up and put down once. A run must do what the rule does one by one, and check everything before it changes
anything, for a refusal in it takes nothing back.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from . import (
    access,
    attestations,
    claims,
    clock,
    collection,
    contributions,
    disputes,
    documents,
    endings,
    experts,
    governance,
    holds,
    jury,
    member_keys,
    members,
    nodes,
    organisation_keys,
    payouts,
    remedies,
    settlement,
)
from . import transactions as tx
from .rows import Member
from .sender import Sender, authorise
from .state import Index, State
from .transactions import Transaction

Rule = Callable[[State, Any, Sender], tuple[int, ...]]


def _advance_clock(state: State, body: tx.AdvanceClock, sender: Sender) -> tuple[int, ...]:
    return clock.advance(state, body)


RULES: Final[dict[type[Any], Rule]] = {
    tx.AdvanceClock: _advance_clock,
    tx.Enrol: lambda state, body, sender: members.enrol(state, body, sender.signer),
    tx.EnrolBatch: lambda state, body, sender: members.enrol_batch(state, body),
    tx.Exit: lambda state, body, sender: members.exit_member(state, body, sender.signer),
    tx.ExitBatch: lambda state, body, sender: members.exit_batch(state, body),
    tx.FileClaim: claims.file,
    tx.Diagnose: claims.diagnose,
    tx.Assess: claims.assess,
    tx.Review: claims.review,
    tx.Pay: payouts.pay,
    tx.ConfirmPayment: payouts.confirm_payment,
    tx.SponsorPeriod: lambda state, body, sender: settlement.sponsor_period(state, body),
    tx.SponsorPayment: payouts.sponsor_payment,
    tx.Collect: lambda state, body, sender: collection.collect(state, body, sender.organisation),
    tx.ConfirmCollection: lambda state, body, sender: collection.confirm(state, body),
    tx.Contribution: lambda state, body, sender: contributions.contribution(state, body),
    tx.PayFee: payouts.pay_fee,
    tx.Advance: payouts.advance,
    tx.PayRefund: payouts.pay_refund,
    tx.RotateMemberKey: lambda state, body, sender: member_keys.rotate(state, body, sender.signer),
    tx.ReportDeath: lambda state, body, sender: endings.report_death(state, body),
    tx.SuspendMember: lambda state, body, sender: endings.suspend_member(state, body),
    tx.ExpelMember: lambda state, body, sender: endings.expel_member(state, body),
    tx.RefundSurplus: payouts.refund_surplus,
    tx.AttestBalance: lambda state, body, sender: attestations.attest(state, body, sender.organisation),
    tx.Propose: lambda state, body, sender: governance.propose(state, body, sender.organisation),
    tx.VoteFor: lambda state, body, sender: governance.vote(state, body, sender.organisation),
    tx.Veto: lambda state, body, sender: governance.veto(state, body),
    tx.FreezePlan: lambda state, body, sender: governance.freeze(state, body),
    tx.AskDocuments: documents.ask,
    tx.GiveDocuments: documents.give,
    tx.Withdraw: documents.withdraw,
    tx.Appeal: disputes.appeal,
    tx.Opinion: experts.opine,
    tx.HoldClaim: holds.hold,
    tx.FreeClaim: holds.free,
    tx.RejectClaim: holds.reject,
    tx.CourtOrder: remedies.court_order,
    tx.ClawBack: remedies.claw_back,
    tx.RecoverAid: remedies.recover,
    tx.WriteOffAid: remedies.write_off,
    tx.ObjectTo: disputes.object_to,
    tx.PassExam: jury.pass_exam,
    tx.ExcludeJuror: disputes.exclude,
    tx.CommitBallot: jury.commit,
    tx.RevealBallot: jury.reveal,
    tx.RotateKey: organisation_keys.rotate,
    tx.SetNodes: nodes.set_nodes,
    tx.NoteAccess: access.note,
}


class Run(Protocol):
    """Transactions of one kind that follow one another."""

    def add(self, body: Any) -> tuple[int, ...]:
        """The next one; returns the detail of its receipt. Raises ``TransactionRejected``: nothing has changed."""
        ...

    def close(self) -> None:
        """The last one was executed: put down what they have in common."""
        ...


RUNS: Final[dict[type[Any], Callable[[State], Run]]] = {tx.Contribution: contributions.Contributions}


def execute(state: State, transaction: Transaction) -> tuple[int, ...]:
    """Run the rule of a transaction; returns the detail of its receipt. Raises ``TransactionRejected``."""
    sender = authorise(state, transaction)
    governance.check_frozen(state, transaction.body)
    return RULES[type(transaction.body)](state, transaction.body, sender)


Asks = Callable[[State, Sequence[Any]], None]
"""Tells the state what bodies of one kind will ask for."""


def _contributions_ask(state: State, bodies: Sequence[Any]) -> None:
    state.expect(Member, [body.member for body in bodies])
    state.expect_keys(Index.REFERENCE, [body.reference for body in bodies])


ASKS: Final[dict[type[Any], Asks]] = {tx.Contribution: _contributions_ask}
"""Of the bodies with runs."""


class Executor:
    """Executes the transactions of a block in order, in runs where there are any; ``close`` it after the last."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._kind: type[Any] | None = None
        """Of the run in progress."""
        self._run: Run | None = None
        self._senders: set[bytes] = set()
        """Keys that may send transactions of the run: it changes nothing that this depends on."""

    def execute(self, transaction: Transaction) -> tuple[int, ...]:
        """Execute the next one; returns the detail of its receipt. Raises ``TransactionRejected``: it left no trace."""
        run = self._run if type(transaction.body) is self._kind else self._next(type(transaction.body))
        if run is None:
            with self._state.attempt():
                return execute(self._state, transaction)
        if transaction.signer not in self._senders:
            authorise(self._state, transaction)
            self._senders.add(transaction.signer)
        return run.add(transaction.body)

    def expect(self, transactions: Iterable[Transaction]) -> None:
        """These come next: read what they change in one go. Does nothing that could be seen."""
        bodies: dict[type[Any], list[Any]] = {}
        for transaction in transactions:
            bodies.setdefault(type(transaction.body), []).append(transaction.body)
        for kind, ask in ASKS.items():
            if kind in bodies:
                ask(self._state, bodies[kind])

    def _next(self, kind: type[Any]) -> Run | None:
        """Another kind: the run in progress is over; one of this kind begins, if it has runs."""
        self.close()
        begin = RUNS.get(kind)
        if begin is not None:
            self._kind, self._run = kind, begin(self._state)
        return self._run

    def close(self) -> None:
        """End the run in progress, if there is one."""
        if self._run is not None:
            with self._state.attempt():
                self._run.close()
        self._kind, self._run = None, None
        self._senders.clear()
