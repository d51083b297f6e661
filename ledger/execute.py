"""Executing one transaction: who may send it, and the rule of its body (LEDGER §2).

Each body has one function (state, body, sender) -> detail of the receipt. A rule refuses with ``TransactionRejected``;
``apply`` runs it inside ``State.attempt``, so a refused transaction leaves no trace.
"""

from collections.abc import Callable
from typing import Any, Final

from . import (
    access,
    attestations,
    claims,
    clock,
    collection,
    disputes,
    documents,
    endings,
    experts,
    governance,
    holds,
    jury,
    member_keys,
    members,
    organisation_keys,
    payouts,
    remedies,
    settlement,
)
from . import transactions as tx
from .sender import Sender, authorise
from .state import State
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
    tx.Contribution: lambda state, body, sender: collection.contribution(state, body),
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
    tx.NoteAccess: access.note,
}


def execute(state: State, transaction: Transaction) -> tuple[int, ...]:
    """Run the rule of a transaction; returns the detail of its receipt. Raises ``TransactionRejected``."""
    sender = authorise(state, transaction)
    governance.check_frozen(state, transaction.body)
    return RULES[type(transaction.body)](state, transaction.body, sender)
