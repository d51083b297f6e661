"""A network whose members owe money: one settled period, so that each member can pay once by single contribution.

The clock is stepped from the opening of the plan to the first settlement; one mild claim is filed, judged and approved.
The plan is the main one with a case cap that lets fewer members carry a case; the chain's parameters are production's.
Members pay in random order, as people do: one after the other by number, neighbours would share what the tree writes.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

from msgspec.structs import replace

from ledger import transactions as tx
from ledger.calendar import (
    MS_PER_DAY,
    day_from_civil,
    day_of,
    month_of,
    next_notice_period,
    notice_ms,
    settle_ms,
    start_of_day,
)
from ledger.codec import digest
from ledger.errors import OperatorError
from ledger.genesis import GenesisPlan
from ledger.limits import BATCH_ITEMS_MAX
from ledger.params import ACCIDENT
from node.keys import KeyPair, read_key

from .. import network as nets
from .. import testnet
from ..demo.client import HttpLedger
from ..demo.ledger import ASSESSORS, BANK, CLOCK, HOSPITAL, PLAN, PLATFORM, DemoError
from ..sender import sign

BEGIN_MS: Final = start_of_day(day_from_civil(2018, 10, 16))
MEMBERS_MIN: Final = 10_000
"""Fewer would owe more than a case's cap for one mild case: then nobody owes anything yet."""
BATCHES_IN_FLIGHT: Final = 4
CASE_CAP_FEN: Final = 18_800
MILD: Final = 2
BIRTH_MONTH: Final = month_of(day_of(BEGIN_MS)) - 30 * 12
AGES_MONTHS: Final = 240


def found(directory: Path, validators: int) -> nets.Network:
    """A new network with a stepped clock, not started yet."""
    main = testnet.default_plan()
    plan = GenesisPlan(main.name, replace(main.params, case_cap_fen=CASE_CAP_FEN))
    founders = testnet.consortium(validators, 0)
    return nets.found(directory, founders, [plan], testnet.default_params(), name="bench", clock_start_ms=BEGIN_MS)


def keys(network: nets.Network) -> dict[str, KeyPair]:
    """The organisations' keys, and the clock's: any assessor that has a node may be drawn."""
    names = {PLATFORM, BANK, HOSPITAL, *ASSESSORS, CLOCK, *(node.name for node in network.nodes)}
    return {name: read_key(path) for name in sorted(names) if (path := network.key_file(name)).exists()}


def client(network: nets.Network) -> HttpLedger:
    """Every organisation's way into the network."""
    return HttpLedger({node.name: node.api for node in network.nodes}, keys(network), network.chain_id)


def batches(members: int, series: bytes = b"bench") -> Iterator[tx.EnrolBatch]:
    """So many new members; another series are other people."""
    for start in range(0, members, BATCH_ITEMS_MAX):
        numbers = range(start, min(start + BATCH_ITEMS_MAX, members))
        people = ((digest(b"%s-%d" % (series, n)), BIRTH_MONTH - n % AGES_MONTHS) for n in numbers)
        yield tx.EnrolBatch(PLAN, tuple(people))


def signed_batches(network: nets.Network, series: bytes, first: int, count: int) -> Iterator[bytes]:
    """The batches ``first`` to ``first + count - 1`` of a series, signed by the platform when they are taken."""
    key = keys(network)[PLATFORM]
    for number in range(first, first + count):
        (body,) = batches(BATCH_ITEMS_MAX, b"%s-%d" % (series, number))
        yield sign(body, key, network.chain_id)


async def enrol(ledger: HttpLedger, members: int, series: bytes = b"bench") -> None:
    """Enrol so many, a few batches in flight at a time; who gets which number is left to the network."""
    waiting = batches(members, series)

    async def keep_sending() -> None:
        for batch in waiting:
            await ledger.send(PLATFORM, [batch])

    async with asyncio.TaskGroup() as group:
        for _ in range(BATCHES_IN_FLIGHT):
            group.create_task(keep_sending())


async def settle(ledger: HttpLedger, members: int) -> tuple[int, int]:
    """Enrol and go to the first settlement; returns (period, what each member owes in fen).

    Raises ``OperatorError`` BENCH_FAILED when the network does something else than the rules say.
    """
    try:
        return await _settle(ledger, members)
    except DemoError as error:
        raise OperatorError("BENCH_FAILED", "the network could not be prepared", str(error), "", exit_code=1) from error


async def _settle(ledger: HttpLedger, members: int) -> tuple[int, int]:
    period = next_notice_period(BEGIN_MS)
    await enrol(ledger, members)
    filed_ms = BEGIN_MS + MS_PER_DAY + MS_PER_DAY // 2
    await _step(ledger, filed_ms)
    filing = tx.FileClaim(
        member=0,
        tier=MILD,
        illness=1,
        cause=ACCIDENT,
        diagnosis_day=day_of(filed_ms),
        region=1,
        fingerprint=digest(b"bench-claim"),
        salt=bytes(16),
    )
    claim = (await ledger.send(PLATFORM, [filing]))[0][0]
    await ledger.send(HOSPITAL, [tx.Diagnose(claim, digest(b"diagnosis"))])
    await _step(ledger, filed_ms + testnet.default_plan().params.investigate_after_days * MS_PER_DAY)
    (firm,) = await ledger.investigators([claim])
    await ledger.send(firm, [tx.Assess(claim, digest(b"report"))])
    await ledger.send(next(name for name in ASSESSORS if name != firm), [tx.Review(claim, 0)])
    notice = notice_ms(period)
    await _step(ledger, notice)
    await _step(ledger, notice + testnet.default_plan().params.notice_days * MS_PER_DAY)
    await _step(ledger, settle_ms(period))
    return period, (await ledger.settled(period)).charged_fen


async def _step(ledger: HttpLedger, to_ms: int) -> None:
    await ledger.send(CLOCK, [tx.AdvanceClock(to_ms)])


def contributions(network: nets.Network, period: int, share_fen: int, members: int) -> Iterator[bytes]:
    """What each of so many members but the first owes, signed by the bank; the same random order in each run."""
    key = keys(network)[BANK]
    for member in Random(members).sample(range(1, members), members - 1):
        body: Any = tx.Contribution(member, (period,), share_fen, b"bench-%d" % member)
        yield sign(body, key, network.chain_id)


def single_enrolments(network: nets.Network, series: bytes, count: int) -> Iterator[bytes]:
    """Single enrolments, signed by the platform when they are taken: as many as are wanted."""
    key = keys(network)[PLATFORM]
    for number in range(count):
        body = tx.Enrol(PLAN, digest(b"%s-%d" % (series, number)), BIRTH_MONTH - number % AGES_MONTHS, b"")
        yield sign(body, key, network.chain_id)
