"""One seed (CONSENSUS §7): nodes, weather, gremlins; first anything may happen, then a healed core of q converges."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from hashlib import sha256
from random import Random
from typing import ClassVar, Final

from consensus.context import LAST_SEEN_WAIT_MS, RESEND_MS_MAX, Timing
from consensus.log import Position
from consensus.messages import Message
from consensus.records import LockRecord
from consensus.scheme import Scheme
from ledger.errors import InvariantViolation
from ledger.genesis import GenesisValidator
from ledger.params import ChainParams
from ledger.rows import Validator

from .byzantine import ByzantineNode, Cabal
from .faults import Plan, make_plan
from .invariants import Checker, Violation
from .ledger import LedgerReplica, founded
from .marks import Marks
from .network import Network, Weather
from .node import SimNode, Watcher
from .replica import ADD, REMOVE, ROTATE, LightReplica, Replica
from .scheme import CHEAP, REAL
from .watch import Watch
from .workload import LedgerWorkload, LightWorkload, Workload
from .world import World

HEARTBEAT_MS: Final = 4_000
ANNOUNCE_MS: Final = 300
RECOVERY_BLOCKS: Final = 2
"""So many blocks above the highest head the core must decide after the heal."""


class Simulation:
    """The run of one seed. ``run`` raises ``Violation``."""

    node_class: ClassVar[type[SimNode]] = SimNode
    """Of nodes that do not lie."""

    def __init__(
        self, seed: int, nodes: int | None = None, *, plan: Plan | None = None, keep_log: bool = False
    ) -> None:
        self.seed = seed
        self.plan: Plan = plan if plan is not None else make_plan(Random(seed * 2_654_435_761 % 2**64), nodes)
        plan = self.plan
        self.world = World(seed, keep_log=keep_log)
        self.marks = Marks()
        self.scheme: Scheme = REAL if plan.real_signatures else CHEAP
        self.timing: Timing = plan.timing
        self.network = Network(self.world, replace(plan.weather))
        self.checker = Checker(self.scheme, plan.byzantine, self.marks)
        self.watcher: Watcher = Watch(self.checker)
        self.nodes: list[SimNode] = []
        self.healed = False
        self._dark = False
        """Nobody may start."""
        self._trap_set = False
        self.recovery_ms = 0
        self._fsync_ms_max = plan.fsync_ms_max
        self._gaps = plan.mempool_gaps
        self._light = LightWorkload(self.world)
        self.workload: Workload = LedgerWorkload(self.world, self._newest) if plan.real_ledger else self._light
        self._sent: list[bytes] = []
        if plan.real_signatures:
            self.marks.hit("real_signatures")
        self._copies: dict[int, list[tuple[bytes, int, Position]]] = {number: [] for number in plan.unlucky}
        self._cabal = Cabal()
        self._make_nodes()

    # ---- what nodes ask of their surroundings ----

    def fsync_ms(self) -> int:
        """How long this fsync takes."""
        return self.world.random.randint(0, self._fsync_ms_max)

    def mempool_gap(self) -> bool:
        """Whether this transaction, though gossiped, is not found."""
        return self.world.chance(self._gaps)

    def passes(self, sender: SimNode, receiver: SimNode, message: Message) -> bool:
        """Whether a consensus message may pass at all; scripted runs choose."""
        return True

    def fsync_fails(self, node: SimNode) -> bool:
        """Whether this fsync fails; then the node has ended itself."""
        if self.healed or not self.world.chance(self.plan.fsync_errors):
            return False
        self.world.trace(str(node), "fsync-error")
        self.marks.hit("fsync_failed")
        node.crash()
        self._restart_later(node)
        return True

    # ---- making ----

    def _make_nodes(self) -> None:
        plan = self.plan
        count = plan.n + plan.spares
        rows = {seat: self._row(seat, active=seat < plan.n) for seat in range(count)}
        rotated = {seat: self.scheme.public_key(_seed(seat, b"rotated")) for seat in range(count)}
        params = ChainParams(
            timeout_ms=plan.timing.timeout_ms,
            timeout_ms_max=plan.timing.timeout_ms_max,
            certify_wait_ms=plan.timing.certify_wait_ms,
            announce_bound_ms=ANNOUNCE_MS,
            heartbeat_ms=HEARTBEAT_MS,
            skip_blocks=4,
            draw_blocks=2,
            block_bytes_max=65_536,
        )
        new_replica = self._replicas(params, rows, rotated)
        for number in range(count):
            seeds = (_seed(number, b"first"), _seed(number, b"rotated"))
            liar = number in plan.byzantine and not plan.twins
            kind = ByzantineNode if liar else self.node_class
            self._add(kind(number, number, self, new_replica(), seeds, _seed(number, b"beacon")))
        for seat in sorted(plan.byzantine) if plan.twins else ():
            seeds = (_seed(seat, b"first"), _seed(seat, b"rotated"))
            self._add(self.node_class(len(self.nodes), seat, self, new_replica(), seeds, _seed(seat, b"beacon")))

    def _replicas(
        self, params: ChainParams, rows: dict[int, Validator], rotated: dict[int, bytes]
    ) -> Callable[[], Replica]:
        """What makes the chain of one node: light, or by the real rules."""
        if not self.plan.real_ledger:
            return lambda: LightReplica(params, rows, self.scheme, rotated)
        validators = tuple(GenesisValidator(row.validator_key, row.beacon_key) for row in rows.values())
        return LedgerReplica(founded(self.plan.n, params, validators)).again

    def _newest(self) -> LedgerReplica:
        """The replica of the honest node that is furthest."""
        replicas = [node.replica for node in self.nodes if node.honest]
        found = max(replicas, key=lambda replica: replica.view.height)
        if not isinstance(found, LedgerReplica):
            raise InvariantViolation("a light chain has no rows to read")
        return found

    def _add(self, node: SimNode) -> None:
        node.honest = node.seat not in self.plan.byzantine
        node.crash_hook = self._crash_hook
        if isinstance(node, ByzantineNode):
            node.conspire(self._cabal, self.checker.count_commit, partial(self.workload.transaction, 5_000))
            self._every(node.every_ms, node.speak, lasting=True)
        self.nodes.append(node)

    def _row(self, seat: int, *, active: bool) -> Validator:
        return Validator(
            organisation=seat,
            validator_key=self.scheme.public_key(_seed(seat, b"first")),
            beacon_key=self.scheme.public_key(_seed(seat, b"beacon")),
            active=active,
            fails=0,
            skipped_until=0,
            changed_height=0,
            previous_skipped_until=0,
        )

    # ---- running ----

    def run(self) -> None:
        """Both phases. Raises ``Violation``."""
        world, plan = self.world, self.plan
        for node in self.nodes:
            late = plan.snapshot_join and plan.n <= node.number < plan.n + plan.spares
            if late:
                world.at(world.random.randint(200, 1_500), partial(self._join, node))
            else:
                world.at(world.random.randint(0, 50), node.start)
        self._schedule()
        end_ms = plan.disturbed_ms
        world.run(lambda: self.head >= plan.heights and world.now_ms > 800 and not self._trap_set, end_ms)
        world.run(lambda: not self._dark, world.now_ms + plan.trap_ms)
        if plan.blackout_ms:
            self._black_out(plan.blackout_ms)
        self._heal()
        begun_ms, wanted = world.now_ms, self.head + RECOVERY_BLOCKS
        core = [self.nodes[number] for number in sorted(plan.core)]
        limit_ms = begun_ms + self.recovery_ms_max
        if not world.run(lambda: all(node.height >= wanted for node in core), limit_ms):
            raise Violation(
                "recovery", f"by {self.recovery_ms_max} ms after the heal, {wanted} wanted: {self._summary()}"
            )
        self.recovery_ms = world.now_ms - begun_ms

    @property
    def recovery_ms_max(self) -> int:
        """How long the healed core may take: LastSeen, a resend, and rounds of the capped timeout."""
        return LAST_SEEN_WAIT_MS + 2 * RESEND_MS_MAX + 4 * self.plan.timing.timeout_ms_max + HEARTBEAT_MS

    @property
    def head(self) -> int:
        """The highest block an honest node has committed."""
        return self.checker.head

    def _summary(self) -> str:
        return "; ".join(
            f"{node} {'up' if node.alive else 'down'} head {node.height} round {node.core.round}"
            f" {'signs' if node.core.signing else 'silent'}{'' if node.number in self.plan.core else ' (not core)'}"
            for node in self.nodes
        )

    # ---- gremlins ----

    def _schedule(self) -> None:
        plan = self.plan
        self._every(plan.transaction_every_ms, self._client, lasting=True)
        self._every(plan.partition_every_ms, self._partition)
        self._every(plan.pause_every_ms, self._pause)
        self._every(plan.disk_full_every_ms, self._fill_disk)
        self._every(plan.crash_every_ms, self._crash_some)
        self._every(plan.restart_all_every_ms, self._restart_all)
        if plan.trap_ms:
            self.world.later(self.world.random.randint(1, 500), self._set_trap)
        if plan.clock_jumps:
            self._every(600, self._jump)
        if plan.set_changes:
            self._every(500, self._change_set)
        if plan.twins and plan.byzantine:
            self._every(120, self._restart_twin)
        if plan.backups:
            self._every(250, self._copy)
            self._every(700, self._lose)

    def _every(self, mean_ms: int, action: Callable[[], None], *, lasting: bool = False) -> None:
        """Again and again at random moments; until the heal, unless it is lasting."""
        if not mean_ms:
            return
        world = self.world

        def again() -> None:
            if lasting or not self.healed:
                action()
                world.later(world.random.randint(1, 2 * mean_ms), again)

        world.later(world.random.randint(1, 2 * mean_ms), again)

    def _heal(self) -> None:
        plan, world = self.plan, self.world
        self.healed = True
        world.trace("world", "heal")
        self.network.cut.clear()
        self.network.weather = Weather(latency_ms=(1, 20))
        self._fsync_ms_max, self._gaps = min(self._fsync_ms_max, 5), 0.0
        for node in self.nodes:
            node.paused_until_ms = node.full_until_ms = 0
            node.go_on()
            node.skew_ms = 0
            if node.number in plan.dead or (not node.honest and plan.byzantine_heals):
                node.crash()
            else:
                node.start()

    def _crash_hook(self, node: SimNode, where: str) -> bool:
        if self._trap_set and not self.healed and self._locked(node):
            self._spring_trap()
            return True
        if self.healed or not self.world.chance(self.plan.crash_at_effects):
            return False
        self.world.trace(str(node), f"crash-{where}-effect")
        self.marks.hit("crash_at_effect")
        node.crash()
        self._restart_later(node)
        return True

    def _restart_later(self, node: SimNode, delay_ms_max: int = 1_500) -> None:
        def restart() -> None:
            if not self._dark:
                node.start()

        self.world.later(self.world.random.randint(1, delay_ms_max), restart)

    def _set_trap(self) -> None:
        """From now on one of the core hears nothing, so that it will not have prepared what the others lock."""
        if self.healed:
            return
        self._trap_set = True
        victim = self.world.random.choice(sorted(self.plan.core))
        self.network.cut |= {(node.number, victim) for node in self.nodes if node.number != victim}

    def _locked(self, node: SimNode) -> bool:
        """Whether a lock at the open height is on the node's disk."""
        records = reversed(node.disk.durable_records)
        return node.honest and any(isinstance(r, LockRecord) and r.lock.height == node.height + 1 for r in records)

    def _spring_trap(self) -> None:
        """The first node that locks a block: at this very moment everybody loses power."""
        self._trap_set, self._dark = False, True
        self.network.cut.clear()
        self.world.trace("world", "trap")
        self.marks.hit("restart_all")
        for node in self.nodes:
            node.crash()

        def light() -> None:
            self._dark = False
            for node in self.nodes:
                if node.number not in self.plan.dead:
                    self._restart_later(node)

        self.world.later(self.plan.trap_ms, light)

    def _black_out(self, duration_ms: int) -> None:
        """Nobody has power; what comes after is the heal."""
        self._dark = self.healed = True
        self.world.trace("world", "blackout")
        for node in self.nodes:
            node.crash()
        self.world.run_for(duration_ms)
        self._dark = False

    def _client(self) -> None:
        random = self.world.random
        if self._sent and random.random() < 0.2:
            raw = random.choice(self._sent)
            self.marks.hit("duplicate_refused")
        else:
            raw = self.workload.transaction(random.choice((200, 1_000, 5_000, 60_000)))
            self._sent.append(raw)
        random.choice(self.nodes).pool.submit(raw)

    def _change_set(self) -> None:
        random = self.world.random
        seat = random.randrange(len(self.nodes))
        raw = self._light.change(random.choice((REMOVE, ADD, ADD, ROTATE)) + seat, 60_000)
        random.choice(self.nodes).pool.submit(raw)

    def _partition(self) -> None:
        random, numbers = self.world.random, [node.number for node in self.nodes]
        if random.random() < 0.5:
            self.network.cut_at_random(numbers, random.choice((0.1, 0.4, 0.7)))
        else:
            self.network.cut_in_two(set(random.sample(numbers, random.randint(1, len(numbers) - 1))), numbers)
        self.world.trace("world", "cut", described=sorted(self.network.cut))
        self.world.later(random.randint(50, 1_500), self._reconnect)

    def _reconnect(self) -> None:
        self.network.cut.clear()

    def _pause(self) -> None:
        random = self.world.random
        node = random.choice(self.nodes)
        node.pause(random.choice((50, 700, 3_000)))
        self.world.trace(str(node), "pause")
        self.marks.hit("paused")

    def _fill_disk(self) -> None:
        random = self.world.random
        node = random.choice(self.nodes)
        node.full_until_ms = self.world.now_ms + random.choice((30, 400, 2_500))
        self.world.trace(str(node), "disk-full")

    def _join(self, newcomer: SimNode) -> None:
        """A new organisation's node fetches a snapshot of somebody's certified head, and begins there."""
        if self._dark or newcomer.life:
            return
        giver = self.world.random.choice([node for node in self.nodes if node.honest and node is not newcomer])
        self.world.trace(str(newcomer), f"join from {giver}", giver.replica.view.state_root)
        if giver.height:
            self.marks.hit("snapshot_joined")
        newcomer.join(giver.replica.snapshot())

    def _crash_some(self) -> None:
        random = self.world.random
        for node in random.sample(self.nodes, random.randint(1, max(1, len(self.nodes) // 2))):
            if node.alive:
                node.crash()
                self._restart_later(node)

    def _restart_twin(self) -> None:
        """A process whose key another one uses too: what the others return may contradict its record."""
        node = self.world.random.choice([node for node in self.nodes if not node.honest])
        if node.alive:
            node.crash()
            self._restart_later(node, 10)

    def _restart_all(self) -> None:
        self.marks.hit("restart_all")
        for node in self.nodes:
            node.crash()
            self._restart_later(node)

    def _jump(self) -> None:
        random = self.world.random
        node = random.choice(self.nodes)
        node.skew_ms = random.choice((0, 0, 900, -900, 3_000, -12_000, 60_000))
        self.world.trace(str(node), "clock", described=node.skew_ms)

    def _copy(self) -> None:
        """An operator backs up an unlucky node: the log, the head, what the database knows of the log."""
        for number in sorted(self.plan.unlucky):
            node = self.nodes[number]
            self._copies[number].append((node.disk.synced, node.height, node.known))

    def _lose(self) -> None:
        random, plan = self.world.random, self.plan
        node = self.nodes[random.choice(sorted(plan.unlucky))]
        node.crash()
        kind = random.choice(("gone", "gone with the chain", "old log", "old everything", "old everything"))
        self.checker.lost(node)
        self.world.trace(str(node), f"lose: {kind}")
        copies = self._copies[node.number]
        if kind in ("old log", "old everything") and copies:
            synced, height, known = copies[-1] if random.random() < 0.7 else random.choice(copies)
            node.disk.roll_back(synced)
            if kind == "old everything":
                node.replica, node.known = node.replica.rewound(min(height, node.height)), known
        else:
            node.log_lost = True
            if kind == "gone with the chain":
                node.replica = node.replica.rewound(random.randint(0, node.height))
        self._restart_later(node)


def _seed(seat: int, kind: bytes) -> bytes:
    return sha256(b"seed %d " % seat + kind).digest()
