"""Views for people say what the rows say, with names (``ledger.queries``)."""

from dataclasses import asdict
from hashlib import sha256

import msgspec

import ledger
from ledger import calendar, queries
from ledger import transactions as tx
from ledger.rows import Plan
from tests.ledger.chain import Chain
from tests.ledger.test_life import BIRTH_MONTH, CLAIMANT, MEMBERS, enrolled, filing, settled


def today(chain: Chain) -> int:
    return calendar.day_of(chain.now_ms)


def test_a_plan_shows_its_next_deadline_its_members_and_its_accounts() -> None:
    chain = enrolled()
    (view,) = queries.plan_views(chain.state, today(chain))
    assert (view.name, view.version, view.members, view.next_stage) == ("main", 0, MEMBERS, "CLOSE")
    assert view.due_ms == chain.view.next_due_ms
    assert set(view.accounts.values()) == {0}
    assert view.params["fee_bps"] == 800
    assert view.params["tiers"] == [
        {"tier": 1, "age_from": 0, "aid_fen": 30_000},
        {"tier": 1, "age_from": 40, "aid_fen": 10_000},
        {"tier": 2, "age_from": 0, "aid_fen": 5_000},
    ]
    assert queries.plan_view(chain.state, 1, today(chain)) is None


def test_a_settlement_shows_the_share_of_each_class() -> None:
    chain = enrolled()
    settled(chain)
    period = chain.state.get(Plan, 0).period
    view = queries.settlement_view(chain.state, 0, period)
    assert view is not None
    assert (view.settle_date, view.stage, view.members, view.claims) == ("2019-03-14", "SETTLED", MEMBERS, 1)
    assert (view.aid_fen, view.fee_fen, view.goal_fen, view.over_fen, view.shares_fen) == (
        30_000,
        2_400,
        32_400,
        0,
        {1: 108},
    )
    assert queries.settlement_view(chain.state, 0, period + 1) is None
    everything = queries.settlement_views(chain.state, 0)
    assert [item.period for item in everything] == list(range(everything[0].period, period + 1))
    assert queries.settlement_views(chain.state, 0, period - 1, 1) == [everything[-2]]
    assert queries.settlement_views(chain.state, 0, limit=-1) == []


def test_a_claim_shows_names_and_what_it_waits_for() -> None:
    chain = enrolled()
    claim, _ = chain.ok("platform", filing(chain))
    view = queries.claim_view(chain.state, claim)
    assert view is not None
    assert (view.state, view.cause, view.waits_for, view.investigator) == ("FILED", "ILLNESS", "INVESTIGATE", "")
    assert (view.reason_text, view.period) == ("", -1)
    assert queries.notice_view(chain.state, claim) is None
    assert queries.claim_view(chain.state, claim + 1) is None


def test_a_settled_claim_shows_who_judged_it_and_a_notice_shows_bands_only() -> None:
    chain = enrolled()
    claim = settled(chain)
    (view,) = queries.claim_views(chain.state)
    assert (view.id, view.state, view.waits_for, view.reason_text) == (claim, "SETTLED", "UNCLAIMED", "cleared")
    assert {view.investigator, view.reviewer} == {"firm-a", "firm-b"}
    assert view.hospital == "hospital"
    assert list(queries.claims_of_period(chain.state, 0, view.period)) == [claim]
    assert queries.claim_of_member(chain.state, CLAIMANT) == claim
    notice = queries.notice_view(chain.state, claim)
    assert notice == queries.NoticeView(claim, view.period, 1, "30-39", 11, 30_000)
    assert queries.claim_views(chain.state, start=1) == []


def test_a_member_shows_what_he_was_charged_and_owes() -> None:
    chain = enrolled()
    settled(chain)
    view = queries.member_view(chain.state, 5, today(chain))
    assert view is not None
    assert (view.state, view.join_date, view.birth_month, view.age) == ("ACTIVE", "2018-10-16", "1988-10", 30)
    assert (view.bill_fen, view.owed["total_fen"], view.to_period, view.claim) == (108, 108, None, None)
    helped = queries.member_view(chain.state, CLAIMANT, today(chain))
    assert helped is not None
    assert (helped.state, helped.claim) == ("BENEFITED", 0)
    assert queries.member_view(chain.state, MEMBERS, today(chain)) is None


def test_a_member_is_found_by_his_identity() -> None:
    chain = enrolled()
    assert queries.member_by_identity(chain.state, 0, sha256(b"person 7").digest()) == 7
    assert queries.member_by_identity(chain.state, 0, bytes(32)) is None
    assert queries.member_by_identity(chain.state, 1, sha256(b"person 7").digest()) is None


def test_organisations_and_validators_are_shown_with_roles_and_seats() -> None:
    chain = Chain()
    organisations = queries.organisation_views(chain.state)
    assert [(item.name, item.roles, item.seat) for item in organisations][:5] == [
        ("platform", ["PLATFORM"], 0),
        ("bank", ["BANK"], 1),
        ("firm-a", ["ASSESSOR"], 2),
        ("firm-b", ["ASSESSOR"], 3),
        ("hospital", ["HOSPITAL"], None),
    ]
    assert [item.organisation for item in queries.validator_views(chain.state)] == [
        "platform",
        "bank",
        "firm-a",
        "firm-b",
    ]


def test_every_view_becomes_json() -> None:
    chain = enrolled()
    settled(chain)
    state, day = chain.state, today(chain)
    views = [
        *queries.plan_views(state, day),
        *queries.settlement_views(state, 0),
        *queries.claim_views(state),
        queries.member_view(state, 0, day),
        queries.notice_view(state, 0),
        *queries.organisation_views(state),
        *queries.validator_views(state),
        queries.stats(state),
    ]
    for view in views:
        assert view is not None
        assert msgspec.json.encode(view)
        assert asdict(view)


def test_stats_count_rows() -> None:
    chain = Chain()
    chain.ok("platform", tx.Enrol(0, bytes(32), BIRTH_MONTH, b""))
    stats = queries.stats(chain.state)
    assert (stats.members, stats.claims, stats.plans, stats.organisations) == (1, 0, 1, 6)


def test_the_embedding_api_offers_what_it_lists() -> None:
    assert "apply_block" in dir(ledger)
    for name in ledger.__all__:
        assert getattr(ledger, name).__name__ == name
    assert not hasattr(ledger, "no_such_name")
