"""The demo's founders, plan and chain parameters: values only, shared by the real network and the ledger in memory."""

from importlib.resources import files
from typing import Final

from msgspec.structs import replace

from ledger.calendar import day_from_civil, start_of_day
from ledger.genesis import GenesisPlan, parse_chain_params, parse_plan
from ledger.params import ChainParams
from ledger.roles import Role

from ..network import Founder
from .ledger import ASSESSORS, BANK, HOSPITAL, PLATFORM, REGULATOR
from .script import PublishedRow, Scale, read_rows

BEGIN_MS: Final = start_of_day(day_from_civil(2018, 10, 16))
"""Xiang Hu Bao opened on 2018-10-16."""
FOUNDERS: Final = (
    Founder(PLATFORM, Role.PLATFORM, validator=True),
    Founder(BANK, Role.BANK, validator=True),
    *(Founder(name, Role.ASSESSOR, validator=True) for name in ASSESSORS),
    Founder(REGULATOR, Role.REGULATOR, observer=True),
    Founder(HOSPITAL, Role.HOSPITAL),
)


def _config(name: str) -> str:
    return files("configs").joinpath(name).read_text("utf-8")


def table() -> list[PublishedRow]:
    """The published half-months."""
    return read_rows(_config("xhb_periods.csv").splitlines())


def plan(scale: Scale) -> GenesisPlan:
    """The main plan with its amounts a case scaled: what a case pays and what it may cost a member."""
    main = parse_plan(_config("plan_main.toml"))
    params = main.params
    tiers = tuple(replace(tier, aid_fen=tier.aid_fen * scale.cases // scale.members) for tier in params.tiers)
    return GenesisPlan(main.name, replace(params, tiers=tiers, case_cap_fen=params.case_cap_fen * scale.cases))


def chain_params() -> ChainParams:
    """The production parameters with the waits of a network on one machine."""
    return replace(
        parse_chain_params(_config("chain_main.toml")), certify_wait_ms=60, announce_bound_ms=20, draw_blocks=2
    )
