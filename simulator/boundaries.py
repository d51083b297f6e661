"""Restart everything, at any instant: a calm run of 20 blocks, all of it crashed at one effect boundary (CONSENSUS §3).

A *boundary* is the moment before, or after, a node performs one effect. They are counted over the whole run, in its
order; number k is the same moment each time, for the run up to it is the same. At it every process dies, each disk
forgets in its own way what was not synced, and all are started again within ``START_MS_MAX``. Then:

* nothing forks and nothing contradicts a message signed before: the invariants of every run (``simulator.invariants``);
* nothing is lost: each block that any node had committed is in every chain afterwards, under the same hash;
* progress: every node has committed a new block within ``TIMEOUTS_MAX`` timeouts of round 0.
"""

from functools import lru_cache
from typing import Final

from .faults import calm_plan
from .invariants import Violation
from .node import SimNode
from .simulation import Simulation

BLOCKS: Final = 20
START_MS_MAX: Final = 20
TIMEOUTS_MAX: Final = 3
LIMIT_MS: Final = 60_000


class BoundaryRun(Simulation):
    """The calm run, cut at boundary ``cut``; never cut when that is beyond its end."""

    def __init__(self, cut: int, nodes: int | None = None, *, keep_log: bool = False) -> None:
        super().__init__(1, plan=calm_plan(nodes or 4, heights=BLOCKS), keep_log=keep_log)
        self.boundaries = 0
        """Passed so far."""
        self._cut = cut
        self._done: dict[int, bytes] = {}

    def run(self) -> None:
        """Up to the boundary, and what must come after it. Raises ``Violation``."""
        world = self.world
        for node in self.nodes:
            world.at(world.random.randint(0, START_MS_MAX), node.start)
        self._every(self.plan.transaction_every_ms, self._client, lasting=True)
        if not world.run(lambda: self.healed or self._all_have(BLOCKS), LIMIT_MS):
            raise Violation("recovery", f"20 calm blocks are not done: {self._summary()}")
        if not self.healed:
            return
        begun_ms, wanted = world.now_ms, self.head + 1
        limit_ms = begun_ms + TIMEOUTS_MAX * self.timing.timeout_ms
        if not world.run(lambda: self._all_have(wanted), limit_ms):
            raise Violation("recovery", f"no block within {TIMEOUTS_MAX} timeouts of the restart: {self._summary()}")
        self.recovery_ms = world.now_ms - begun_ms
        for node in self.nodes:
            for height, hash in self._done.items():
                if node.replica.chain[height - 1].hash != hash:
                    raise Violation("lost", f"{node} lost block {height}")

    def _all_have(self, height: int) -> bool:
        return all(node.height >= height for node in self.nodes)

    def _crash_hook(self, node: SimNode, where: str) -> bool:
        self.boundaries += 1
        if self.boundaries != self._cut:
            return False
        self.healed = True
        self.world.trace(str(node), f"power-cut-{where}-effect")
        for each in self.nodes:
            self._done |= {sealed.height: sealed.hash for sealed in each.replica.chain}
            each.crash()
            self.world.later(self.world.random.randint(0, START_MS_MAX), each.start)
        return True


@lru_cache
def boundaries(nodes: int | None = None) -> int:
    """How many there are in the whole calm run: 1 to this number can be cut."""
    calm = BoundaryRun(0, nodes)
    calm.run()
    return calm.boundaries
