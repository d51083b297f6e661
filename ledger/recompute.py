"""The arithmetic of settlements, bills and draws done once more, from rows alone (LEDGER §7, §8, §10).

Rules of this file
- Each function reads rows through a ``StateReader`` only, so that it runs over a whole state and over proven rows.
- What does not come out as the rows say raises ``ProofFailed``, which names the row.
- The formula of the shares and the charges of the cohorts are written out again here, not taken from ``settlement``:
  a fault in one of the two shows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from . import bills
from .calendar import year_of, year_start
from .errors import ProofFailed
from .light import VerifiedChain
from .organisations import with_role
from .params import ChainParams, PlanParams
from .plans import BPS, class_of, notice_day
from .roles import Role
from .rows import Draw, Frozen, Member, Plan, PlanVersion, Settlement
from .state import StateReader
from .votes import faults

NOTICED = 1
"""Stage of a settlement row that is not settled yet."""


# ---- settlements -----------------------------------------------------------------------------------------------------


def check_shares(row_id: int, row: Settlement, params: PlanParams) -> None:
    """need = A + F + B, G = need - carry used, u[c] = ceil(G·w[c] / W), over = Σ u·N - G. Raises ``ProofFailed``."""
    weights = {band.class_id: band.weight for band in params.classes}
    members = sum(count for _, count in row.counts)
    weight = sum(weights.get(class_id, 0) * count for class_id, count in row.counts)
    need = row.aid_fen + row.fee_fen + row.bad_debt_fen
    shares = tuple((class_id, _up(row.goal_fen * weights.get(class_id, 0), weight)) for class_id, _ in row.counts)
    asked = sum(share * count for (_, share), (_, count) in zip(shares, row.counts, strict=True))
    bound = dict(row.upper_bound)
    said = row.would_be if row.sponsored else row.shares
    free = tuple((class_id, 0) for class_id, _ in row.counts)
    wrong = {
        "the fee is not the plan's part of the aid": row.fee_fen != row.aid_fen * params.fee_bps // BPS,
        "more bad debt is shared than the notice named": not 0 <= row.bad_debt_fen <= row.bad_debt_noticed,
        "G is not aid + fee + bad debt - carry used": row.goal_fen != need - row.carry_used_fen
        or not 0 <= row.carry_used_fen <= need,
        "the shares are not G·w / W, rounded up": said != shares,
        "a share is above the notice's upper bound": any(share > bound.get(c, 0) for c, share in shares),
        "a sponsored period has shares": row.sponsored and row.shares != free,
        "over is not Σ u·N - G": not row.sponsored and row.over_fen != asked - row.goal_fen,
        "over is not below the number of members": not 0 <= row.over_fen < max(1, members),
        "charges and excess do not add up to Σ u·N": not row.sponsored and row.charged_fen + row.excess_fen != asked,
        "somebody is charged for a sponsored period": row.sponsored and row.charged_fen + row.excess_fen != 0,
    }
    if row.stage == NOTICED:
        raise ProofFailed(f"settlements {row_id}", f"period {row.period} is noticed and not settled yet")
    for why, is_wrong in wrong.items():
        if is_wrong:
            raise ProofFailed(f"settlements {row_id}", why)


@dataclass(frozen=True, slots=True)
class SettlementSums:
    """What the frozen cohorts of a settled period add up to."""

    row: Settlement
    plan: Plan
    cohorts: int
    """Entries of the frozen rows."""


def settlement_sums(state: StateReader, row_id: int) -> SettlementSums:
    """Recompute a settled period whole: N[c] = Σ frozen, shares, charge and excess cohort by cohort, running sums.

    Raises ``ProofFailed``.
    """
    row = state.get(Settlement, row_id)
    where = f"settlements {row_id}"
    versions = list(state.rows(PlanVersion))
    plan, params = state.get(Plan, row.plan), versions[row.version][1].params
    check_shares(row_id, row, params)
    sums = bills.RunningSums(state, row.plan, plan)
    cap, day, shares = sums.cap(year_of(row.period)), notice_day(row.period), dict(row.shares)
    counts: dict[int, int] = {}
    charged = excess = cohorts = 0
    newest = -1
    for frozen_id in range(row.frozen_first, row.frozen_first + row.frozen_count):
        frozen = state.get(Frozen, frozen_id)
        if (frozen.plan, frozen.period) != (row.plan, row.period) or frozen.birth_month <= newest:
            raise ProofFailed(f"frozen {frozen_id}", f"not an ascending birth month of period {row.period}")
        newest = frozen.birth_month
        class_id = class_of(params, frozen.birth_month, day).class_id
        for start, base, count in frozen.counts:
            before = sums.charged_before(frozen.birth_month, start, base, row.period)
            charge = min(cap, before + shares.get(class_id, 0)) - min(cap, before)
            charged += charge * count
            excess += (shares.get(class_id, 0) - charge) * count
            counts[class_id] = counts.get(class_id, 0) + count
            cohorts += 1
    if tuple(sorted(counts.items())) != row.counts:
        raise ProofFailed(where, f"the frozen cohorts count {counts}, the settlement {dict(row.counts)}")
    if (charged, excess) != (row.charged_fen, row.excess_fen):
        raise ProofFailed(where, f"the cohorts are charged {charged} and {excess} fen, not as the settlement says")
    before_it = sums.at(row.period)
    if dict(row.index) != {c: before_it.get(c, 0) + shares.get(c, 0) for c in {*before_it, *shares}}:
        raise ProofFailed(where, "the running sums are not those before it and its shares")
    return SettlementSums(row, plan, cohorts)


# ---- a member's bill -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MemberSums:
    """A member's bill, recomputed period by period."""

    member: Member
    plan: Plan
    bill_fen: int
    charges: tuple[bills.Charge, ...]
    owed: bills.Owed


def member_sums(state: StateReader, member_id: int, frozen_ids: tuple[int, ...]) -> MemberSums:
    """Recompute a member's bill, the shares in it, and his place in the cohorts that were counted.

    ``frozen_ids`` are the rows of ``frozen`` that counted him, one for each charged period (``frozen_rows``). Raises
    ``ProofFailed``.
    """
    versions: Mapping[int, PlanVersion] = dict(state.rows(PlanVersion))
    member = state.get(Member, member_id)
    plan = state.get(Plan, member.plan)
    where = f"members {member_id}"
    total, charges = bills.bill(state, member_id)
    if sum(charge.charge_fen for charge in charges) != total:
        raise ProofFailed(where, "the charges of the periods do not add up to the bill")
    periods = [charge.period for charge in charges]
    lives = _lives(state, member)
    if periods != [period for start, stop, _ in lives for period in range(start, min(stop, _settled_until(plan)))]:
        raise ProofFailed(where, "a period in which he was a member has no settlement")
    if len(frozen_ids) != len(charges):
        raise ProofFailed(where, f"{len(frozen_ids)} frozen rows are named for {len(charges)} periods")
    for charge, frozen_id in zip(charges, frozen_ids, strict=True):
        row = state.get(Settlement, charge.settlement)
        if (row.plan, row.period) != (member.plan, charge.period):
            raise ProofFailed(f"settlements {charge.settlement}", f"not of period {charge.period} of his plan")
        check_shares(charge.settlement, row, versions[row.version].params)
        if dict(row.shares).get(charge.class_id) != charge.share_fen:
            raise ProofFailed(f"settlements {charge.settlement}", "its running sums do not differ by its share")
        _check_counted(state, member, lives, row, frozen_id)
    return MemberSums(member, plan, total, tuple(charges), bills.owed(state, member))


def frozen_rows(state: StateReader, member_id: int) -> tuple[int, ...]:
    """The rows of ``frozen`` that counted a member, one for each period of his bill (-1: none did)."""
    member = state.get(Member, member_id)
    found = []
    for charge in bills.bill(state, member_id)[1]:
        frozen_id = bills.frozen_id(state, state.get(Settlement, charge.settlement), member.birth_month)
        found.append(-1 if frozen_id is None else frozen_id)
    return tuple(found)


Life = tuple[int, int, int]
"""(from, to, base) of a span."""


def _lives(state: StateReader, member: Member) -> list[Life]:
    closed = [(span.from_period, span.to_period, span.base_fen) for _, span in bills.spans(state, member)]
    return [*closed, (member.from_period, member.to_period, member.base_fen)]


def _settled_until(plan: Plan) -> int:
    return plan.period + 1 if plan.stage == 2 else plan.period


def _check_counted(state: StateReader, member: Member, lives: list[Life], row: Settlement, frozen_id: int) -> None:
    """The frozen cohort of his birth month counts at least one member who began when he did, with his base."""
    where = f"frozen {frozen_id}"
    frozen = state.get(Frozen, frozen_id)
    if not row.frozen_first <= frozen_id < row.frozen_first + row.frozen_count:
        raise ProofFailed(where, f"not one of the rows that period {row.period} froze")
    if (frozen.plan, frozen.period, frozen.birth_month) != (row.plan, row.period, member.birth_month):
        raise ProofFailed(where, "not of his plan, the period and his birth month")
    start, base = next((start, base) for start, stop, base in lives if start <= row.period < stop)
    cohort = (start, base) if start >= year_start(year_of(row.period)) else (0, 0)
    if not any((begun, charged) == cohort and count > 0 for begun, charged, count in frozen.counts):
        raise ProofFailed(where, f"period {row.period} counts nobody who began and paid as he did")


# ---- a draw ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DrawSums:
    """A closed draw, recomputed from the beacons of the headers."""

    row: Draw
    assessors: tuple[int, ...]
    """Active assessors in the proven state, ascending."""


def draw_sums(state: StateReader, draw_id: int, chain: VerifiedChain, params: ChainParams) -> DrawSums:
    """A closed draw, and who could have been named by it. Raises ``ProofFailed``."""
    row = closed_draw(state, draw_id, chain, params)
    return DrawSums(row, tuple(with_role(state, Role.ASSESSOR)))


def closed_draw(state: StateReader, draw_id: int, chain: VerifiedChain, params: ChainParams) -> Draw:
    """Mix the beacons of the blocks after its opening, until f + 1 creators and k blocks; every beacon is verified.

    Raises ``ProofFailed``.
    """
    row, where = state.get(Draw, draw_id), f"draws {draw_id}"
    if row.closed_height == 0:
        raise ProofFailed(where, "the draw is still open")
    running, creators, height = bytes(32), set[bytes](), row.opened_height
    while True:
        height += 1
        header = chain.header(height)
        if header.params_hash != params.hash():
            raise ProofFailed(f"header {height}", "its parameters are not those of the genesis file")
        running = sha256(running + chain.beacon_of(height)).digest()
        creators.add(header.creator)
        enough = faults(len(chain.sets[header.validators_hash])) + 1
        if height - row.opened_height >= params.draw_blocks and len(creators) >= enough:
            break
    recomputed = Draw(row.opened_height, height - row.opened_height, tuple(sorted(creators)), running, height)
    if row != recomputed:
        raise ProofFailed(where, "the beacons of the headers give another draw")
    return row


def _up(amount: int, parts: int) -> int:
    return -(-amount // parts) if parts else 0
