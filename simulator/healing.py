"""How soon a healed network goes on, f validators dead: a scripted run (CONSENSUS §7).

First f founders are dead and the others decide ``WARM_BLOCKS`` blocks for each of them, so that the skip rule has
learned who does not answer. Then no proposal passes until everybody waits out rounds of the capped timeout. Then all
is well again (with ``restart``: after everybody lost power), and the time to the next block everywhere is taken.
"""

from collections.abc import Callable
from random import Random
from typing import Final

from consensus.context import Timing
from consensus.messages import Message, SignedProposal
from ledger.votes import faults

from .faults import calm_plan
from .invariants import Violation
from .node import SimNode
from .simulation import Simulation

TIMING: Final = Timing(1_000, 30_000, 50)
"""What a chain is founded with; beside a cap of 30 s the 5 s of LastSeen after a restart are little."""
CAPPED_ROUNDS_MAX: Final = 3
"""Progress after so many rounds of the capped timeout at most."""
WARM_BLOCKS: Final = 2
STALL_ROUND: Final = 6
"""T0·2^6 is above the cap."""
SIZES: Final = (4, 5, 6, 7, 10, 13, 16, 22, 31)
SEEDS: Final = 2
LIMIT_MS: Final = 3_600_000


class HealedRun(Simulation):
    """``recovery_ms`` holds what was measured."""

    def __init__(self, seed: int, nodes: int, *, restart: bool, keep_log: bool = False) -> None:
        dead = frozenset(Random(seed).sample(range(nodes), faults(nodes)))
        super().__init__(seed, plan=calm_plan(nodes, timing=TIMING, dead=dead), keep_log=keep_log)
        self._restart = restart
        self._stalled = False

    def run(self) -> None:
        """Raises ``Violation``, with ``recovery`` when it takes longer than allowed."""
        world, core = self.world, [self.nodes[number] for number in sorted(self.plan.core)]
        for node in core:
            world.at(world.random.randint(0, 20), node.start)
        self._every(self.plan.transaction_every_ms, self._client, lasting=True)
        warm = WARM_BLOCKS * len(self.plan.dead) + 2
        self._until(lambda: all(node.height >= warm for node in core), "warmed up")
        self._stalled = True
        self._until(lambda: all(node.core.round >= STALL_ROUND for node in core), "stalled")
        if self._restart:
            for node in core:
                node.crash()
                world.later(world.random.randint(0, 200), node.start)
        self._stalled = False
        begun_ms, wanted = world.now_ms, self.head + 1
        bound_ms = CAPPED_ROUNDS_MAX * TIMING.timeout_ms_max
        if not world.run(lambda: all(node.height >= wanted for node in core), begun_ms + bound_ms):
            raise Violation("recovery", f"no block {bound_ms} ms after the heal: {self._summary()}")
        self.recovery_ms = world.now_ms - begun_ms

    def passes(self, sender: SimNode, receiver: SimNode, message: Message) -> bool:
        """No proposal, while it lasts."""
        return not (self._stalled and isinstance(message, SignedProposal))

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        if not self.world.run(condition, LIMIT_MS):
            raise Violation("recovery", f"the network is not {what}: {self._summary()}")


def healings(nodes: int | None = None) -> int:
    """How many such runs there are: numbers 0 to this, exclusive."""
    return len(_cases(nodes))


def healed_run(number: int, nodes: int | None = None, *, keep_log: bool = False) -> HealedRun:
    """Run ``number``: each size, with and without a restart, ``SEEDS`` times."""
    size, restart, seed = _cases(nodes)[number]
    return HealedRun(seed, size, restart=restart, keep_log=keep_log)


def _cases(nodes: int | None) -> list[tuple[int, bool, int]]:
    sizes = SIZES if nodes is None else (nodes,)
    return [(size, restart, seed) for size in sizes for restart in (False, True) for seed in range(1, SEEDS + 1)]
