"""Roles of organisations, and the table that says which role may send what (LEDGER §2)."""

from enum import IntFlag
from typing import Any, Final

from . import transactions as tx


class Role(IntFlag):
    """What an organisation of the consortium does; an organisation may hold several, where the rules allow it."""

    PLATFORM = 1
    BANK = 2
    ASSESSOR = 4
    HOSPITAL = 8
    REGULATOR = 16


_NOBODY: Final = Role(0)
_ANYBODY: Final = Role.PLATFORM | Role.BANK | Role.ASSESSOR | Role.HOSPITAL | Role.REGULATOR

MAY_SEND: Final[dict[type[Any], tuple[Role, bool]]] = {
    # body: (organisations with one of these roles, the member's own key)
    tx.Enrol: (Role.PLATFORM, True),
    tx.EnrolBatch: (Role.PLATFORM, False),
    tx.Exit: (Role.PLATFORM, True),
    tx.ExitBatch: (Role.PLATFORM, False),
    tx.FileClaim: (Role.PLATFORM, True),
    tx.Diagnose: (Role.HOSPITAL, False),
    tx.Assess: (Role.ASSESSOR, False),
    tx.Review: (Role.ASSESSOR, False),
    tx.Pay: (Role.BANK, False),
    tx.ConfirmPayment: (Role.BANK, False),
    tx.SponsorPeriod: (Role.PLATFORM, False),
    tx.SponsorPayment: (Role.BANK, False),
    tx.Collect: (Role.PLATFORM, False),
    tx.ConfirmCollection: (Role.BANK, False),
    tx.Contribution: (Role.BANK, False),
    tx.PayFee: (Role.BANK, False),
    tx.Advance: (Role.BANK, False),
    tx.PayRefund: (Role.BANK, False),
    tx.RotateMemberKey: (Role.PLATFORM, True),
    tx.ReportDeath: (Role.PLATFORM, False),
    tx.SuspendMember: (Role.PLATFORM | Role.REGULATOR, False),
    tx.ExpelMember: (Role.REGULATOR, False),
    tx.RefundSurplus: (Role.BANK, False),
    tx.AttestBalance: (Role.BANK, False),
    tx.Propose: (Role.PLATFORM | Role.BANK | Role.ASSESSOR, False),
    tx.VoteFor: (Role.PLATFORM | Role.BANK | Role.ASSESSOR, False),
    tx.Veto: (Role.REGULATOR, False),
    tx.FreezePlan: (Role.REGULATOR, False),
    tx.AskDocuments: (Role.ASSESSOR, False),
    tx.GiveDocuments: (Role.PLATFORM, True),
    tx.Withdraw: (Role.PLATFORM, True),
    tx.Appeal: (Role.PLATFORM, True),
    tx.Opinion: (Role.BANK | Role.ASSESSOR | Role.HOSPITAL | Role.REGULATOR, False),
    tx.HoldClaim: (Role.ASSESSOR | Role.REGULATOR, False),
    tx.FreeClaim: (Role.ASSESSOR | Role.REGULATOR, False),
    tx.RejectClaim: (Role.ASSESSOR | Role.REGULATOR, False),
    tx.CourtOrder: (Role.REGULATOR, False),
    tx.ClawBack: (Role.REGULATOR, False),
    tx.RecoverAid: (Role.BANK, False),
    tx.WriteOffAid: (Role.REGULATOR, False),
    tx.ObjectTo: (_NOBODY, True),
    tx.PassExam: (Role.PLATFORM, False),
    tx.ExcludeJuror: (_ANYBODY, False),
    tx.CommitBallot: (_NOBODY, True),
    tx.RevealBallot: (_NOBODY, True),
    tx.RotateKey: (_ANYBODY, False),
    tx.SetNodes: (_ANYBODY, False),
    tx.NoteAccess: (_ANYBODY, False),
}
"""``AdvanceClock`` is not here: it belongs to the clock key of the genesis, not to a role."""
