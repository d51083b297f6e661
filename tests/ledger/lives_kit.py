"""What the random lives have in common: the plans, who sends what, and a chain that says when a block was added."""

from collections.abc import Callable, Sequence
from datetime import date
from hashlib import sha256
from typing import Any

from msgspec.structs import replace

from ledger import calendar
from ledger import transactions as tx
from ledger.apply import apply_block
from ledger.blocks import Body, header_hash
from ledger.codec import encode
from ledger.params import ClassBand, PlanParams, TierBand
from ledger.proposers import proposer
from ledger.transactions import decode_transaction, transaction_id
from ledger.validity import assemble_header
from ledger.votes import Certificate
from tests.ledger.chain import PLAN_PARAMS, Block, Chain
from tests.reference.brute_force import Rules
from tests.reference.claim_times_by_hand import Windows

Step = tuple[int, str, int, int]
"""(plan, name, a, b)."""
SIGNERS: dict[type[Any], str] = {
    tx.ConfirmCollection: "bank",
    tx.Contribution: "bank",
    tx.PayRefund: "bank",
    tx.RefundSurplus: "bank",
    tx.SponsorPayment: "bank",
    tx.Advance: "bank",
    tx.PayFee: "bank",
    tx.Pay: "bank",
    tx.ConfirmPayment: "bank",
    tx.RecoverAid: "bank",
    tx.ExpelMember: "regulator",
    tx.ClawBack: "regulator",
    tx.WriteOffAid: "regulator",
    tx.CourtOrder: "regulator",
    tx.Diagnose: "hospital",
}
"""Who sends what; everything else the platform, unless the step names somebody."""
FIRMS = ("firm-a", "firm-b", "firm-c")
NAMES = ("platform", "bank", "firm-a", "firm-b", "hospital", "regulator", "firm-c")
HASH, SALT = sha256(b"a commitment").digest(), bytes(16)
KEYED = 6
"""Members with their own keys in each plan: the first ones."""
TIERS = (TierBand(1, 0, 30_000), TierBand(1, 40, 10_000), TierBand(2, 0, 5_000))
BASE = replace(
    PLAN_PARAMS,
    tiers=TIERS,
    objectors_min=2,
    jury_panel=5,
    jury_quorum=2,
    case_cap_fen=10**9,
    year_cap_fen=600,
    investigate_days=20,
    review_days=10,
)
PLANS: tuple[tuple[PlanParams, ...], ...] = (
    (BASE, replace(BASE, fee_bps=600), replace(BASE, year_cap_fen=450)),
    (
        replace(BASE, classes=(ClassBand(0, 1, 1), ClassBand(30, 2, 2), ClassBand(40, 3, 3)), year_cap_fen=900),
        replace(BASE, classes=(ClassBand(0, 1, 1), ClassBand(30, 2, 2), ClassBand(45, 4, 5)), year_cap_fen=900),
    ),
    (replace(BASE, fee_bps=500, lapse_fails=3, waiting_days=30, year_cap_fen=500, joining_age_years_max=70),),
)
"""Versions of each plan; the later ones are in force from ``VERSION_DAYS`` on."""
VERSION_DAYS = (calendar.day_from_civil(2018, 12, 9), calendar.day_from_civil(2020, 1, 1))
MONTHS = tuple(range(1962 * 12, 1996 * 12, 13))
EPOCH = date(1970, 1, 1)
YEAR = 24
MANY = 8
"""Deadlines in a block that an outage put there."""


class Watched(Chain):
    """A chain that says when a block was added.

    Not ``checked``: for ten thousand lives, what ``validity`` checks is left out, and with it what only it looks at:
    beacons without proofs, certificates without seals. Rules, deadlines, roots and receipts are the same.
    """

    watch: Callable[[Block], None] | None = None
    checked = True

    def raw_block(self, *args: Any, **kwargs: Any) -> Block:
        """Also of ``block``, ``step_to``, ``quiet``."""
        made = super().raw_block(*args, **kwargs) if self.checked else self._unchecked(*args)
        if self.watch is not None:
            self.watch(made)
        return made

    def _unchecked(self, raws: Sequence[bytes] = ()) -> Block:
        view = self.view
        header = assemble_header(
            view,
            time_ms=self.next_time_ms,
            transaction_ids=[transaction_id(raw) for raw in raws],
            creator=proposer(view.proposers(), 0).validator_key,
            beacon_output=sha256(view.header.beacon + view.height.to_bytes(8, "big")).digest() * 2,
            beacon_proof=bytes(80),
            parent_certificate=self.certificate,
        )
        body = Body(tuple(raws), (), self.certificate, None)
        sent = [(transaction_id(raw), decode_transaction(raw)) for raw in raws]
        applied = apply_block(self.store, view, header, self.certificate, sent)
        self.store.write(applied.batch)
        certificate = Certificate(header.height, 0, header_hash(encode(header)), ())
        self.view, self.certificate = applied.view, certificate
        block = Block(header, body, certificate, applied)
        self.blocks.append(block)
        return block


def rules_of(begins: date, params: PlanParams) -> Rules:
    bands = tuple((band.age_from, band.class_id, band.weight) for band in params.classes)
    return Rules(begins, params.fee_bps, params.year_cap_fen, params.lapse_fails, bands, params.reinstate_days)


def windows_of(params: PlanParams) -> Windows:
    return Windows(
        waiting=params.waiting_days,
        file=params.file_days,
        investigate_after=params.investigate_after_days,
        investigate=params.investigate_days,
        review=params.review_days,
        expert=params.expert_days,
        appeal=params.appeal_days,
        documents=params.docs_days_max,
        documents_times=params.docs_times_max,
        notice=params.notice_days,
        pay=params.pay_days,
        objectors=params.objectors_min,
        commit_hours=params.jury_commit_hours,
        reveal_hours=params.jury_reveal_hours,
        quorum=params.jury_quorum,
        tiers=tuple((tier.tier, tier.age_from, tier.aid_fen) for tier in params.tiers),
        firms=frozenset(NAMES.index(name) for name in FIRMS),
    )
