"""Which faults a seed has, and the gremlin that causes them until the heal (CONSENSUS §7).

Each family is on or off by the seed. Who may be Byzantine, may lose records, or may stay dead after the heal is
chosen beforehand: together at most f, for that is what the protocol promises to survive.
"""

from dataclasses import dataclass
from random import Random
from typing import Final

from consensus.context import Timing
from ledger.votes import faults, quorum

from .ledger import FOUNDERS
from .network import Weather

TIMINGS: Final = (Timing(400, 3_000, 50), Timing(1_000, 8_000, 50), Timing(200, 30_000, 50))


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a seed decides before it runs."""

    n: int
    """Founding validators: nodes 0 to n − 1."""
    spares: int
    """Nodes without a seat at first, n and above."""
    real_signatures: bool
    real_ledger: bool
    heights: int
    """Blocks wanted until the heal ends the run; at most 20."""
    disturbed_ms: int
    timing: Timing
    weather: Weather
    partition_every_ms: int
    pause_every_ms: int
    crash_every_ms: int
    crash_at_effects: float
    """Chance of a crash before, and again after, every effect."""
    restart_all_every_ms: int
    trap_ms: int
    """How long everybody is without power from the moment that the first node locks a block; 0: no such trap."""
    blackout_ms: int
    """How long the whole network is without power before the heal."""
    backups: bool
    """Unlucky nodes come back from an old copy of their log, or of everything."""
    clock_jumps: bool
    set_changes: bool
    mempool_gaps: float
    fsync_ms_max: int
    transaction_every_ms: int
    byzantine: frozenset[int]
    twins: bool
    """Byzantine means: two honest nodes with one key, instead of liars."""
    byzantine_heals: bool
    """Whether liars fall silent at the heal."""
    unlucky: frozenset[int]
    """Whose records may be lost or rolled back."""
    dead: frozenset[int]
    """Who never comes back after the heal."""
    disk_full_every_ms: int = 0
    fsync_errors: float = 0.0
    """Chance that an fsync fails: the process ends, and is started again later."""
    snapshot_join: bool = False
    """Spare nodes come late, and begin with a snapshot of another's state."""

    @property
    def core(self) -> frozenset[int]:
        """The honest founders whose records were kept and who live after the heal: at least q."""
        return frozenset(range(self.n)) - self.byzantine - self.unlucky - self.dead


def make_plan(random: Random, nodes: int | None = None) -> Plan:
    """The plan of a seed."""
    n = nodes or random.choice((4, 4, 4, 5, 6, 7))
    real_ledger = random.random() < 0.07 and n <= len(FOUNDERS)
    set_changes = not real_ledger and random.random() < 0.25
    budget = faults(n - 1) if set_changes and n > 4 else faults(n)
    numbers = list(range(n))
    random.shuffle(numbers)
    wrong = random.choice((0, budget, budget))
    byzantine, unlucky = 0, 0
    for _ in range(wrong):
        if random.random() < 0.55:
            byzantine += 1
        else:
            unlucky += 1
    off = random.random() < 0.3
    dead_max = n - quorum(n) - byzantine - unlucky if not set_changes else 0
    dead = random.choice((0, max(0, dead_max)))

    def some(*values: int) -> int:
        return 0 if off else random.choice(values)

    latency = random.choice(((1, 5), (1, 20), (5, 60), (10, 300)))
    return Plan(
        n=n,
        spares=random.choice((0, 1, 1)) if set_changes else 0,
        real_signatures=real_ledger or random.random() < 0.07,
        real_ledger=real_ledger,
        heights=random.choice((3, 5, 8)) if not real_ledger else random.choice((8, 16)),
        disturbed_ms=random.choice((1_000, 3_000, 6_000)),
        timing=random.choice(TIMINGS),
        weather=Weather(
            loss=0.0 if off else random.choice((0.0, 0.0, 0.05, 0.25)),
            duplication=random.choice((0.0, 0.1)),
            reordering=random.random() < 0.5,
            latency_ms=latency,
        ),
        partition_every_ms=some(0, 0, 400, 1_500),
        pause_every_ms=some(0, 0, 700, 2_000),
        crash_every_ms=some(0, 0, 500, 1_500),
        crash_at_effects=0.0 if off else random.choice((0.0, 0.0, 0.002, 0.01)),
        restart_all_every_ms=some(0, 0, 1_000, 2_500),
        trap_ms=random.choice((0, 0, 0, 100, 15_000)),
        blackout_ms=some(0, 0, 1_000, 15_000),
        backups=unlucky > 0,
        clock_jumps=random.random() < 0.2,
        set_changes=set_changes,
        mempool_gaps=random.choice((0.0, 0.3)),
        fsync_ms_max=random.choice((0, 5, 50)),
        transaction_every_ms=random.choice((100, 300, 1_000)) if not real_ledger else random.choice((50, 150)),
        byzantine=frozenset(numbers[:byzantine]),
        twins=random.random() < 0.25,
        byzantine_heals=random.random() < 0.4,
        unlucky=frozenset(numbers[byzantine : byzantine + unlucky]),
        dead=frozenset(numbers[byzantine + unlucky : byzantine + unlucky + dead]),
        disk_full_every_ms=some(0, 0, 0, 800),
        fsync_errors=0.0 if off else random.choice((0.0, 0.0, 0.003, 0.01)),
        snapshot_join=random.random() < 0.5,
    )


def calm_plan(
    n: int,
    *,
    timing: Timing = TIMINGS[1],
    dead: frozenset[int] = frozenset(),
    heights: int = 20,
    real_signatures: bool = False,
) -> Plan:
    """No faults at all but those that a scripted run causes itself; the same latency everywhere."""
    return Plan(
        n=n,
        spares=0,
        real_signatures=real_signatures,
        real_ledger=False,
        heights=heights,
        disturbed_ms=0,
        timing=timing,
        weather=Weather(latency_ms=(2, 2)),
        partition_every_ms=0,
        pause_every_ms=0,
        crash_every_ms=0,
        crash_at_effects=0.0,
        restart_all_every_ms=0,
        trap_ms=0,
        blackout_ms=0,
        backups=False,
        clock_jumps=False,
        set_changes=False,
        mempool_gaps=0.0,
        fsync_ms_max=1,
        transaction_every_ms=150,
        byzantine=frozenset(),
        twins=False,
        byzantine_heals=False,
        unlucky=frozenset(),
        dead=dead,
    )
