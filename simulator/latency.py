"""How long a block takes over real distances: latencies from a published table, CPU costs measured in the same run.

Rules of this file:

* The protocol is the simulator's: real core, real codec, real Ed25519; a link takes half the table's round trip.
* A node handles one message at a time. What each kind costs is measured in the same run: node 0 decodes, verifies and
  steps without any cache, by the process's CPU clock, during the first ``CALIBRATION`` blocks; the median is charged to
  every node for every message from then on. Times are rounded to whole milliseconds only when something is scheduled.
* Not modelled: bandwidth, loss, encryption of links, executing the blocks' transactions. An fsync takes ``FSYNC_MS``.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, Final

from consensus import effects as fx
from consensus import events as ev
from consensus.core import Consensus
from consensus.log import Decoded
from consensus.messages import Message, decode_message, encode_message
from consensus.records import Record
from consensus.scheme import ED25519
from ledger.errors import InvariantViolation, OperatorError
from ledger.signing import verify
from ledger.transactions import transaction_id
from ledger.votes import Certificate

from .faults import calm_plan
from .healing import TIMING
from .network import Network
from .node import SimNode
from .replica import Sealed
from .simulation import Simulation

SIZES: Final = (4, 7, 16, 31, 64, 100)
REGIONS: Final = (
    "Dallas",
    "Toronto",
    "Washington DC",
    "Frankfurt",
    "London",
    "Madrid",
    "Osaka",
    "Sydney",
    "Tokyo",
    "Sao Paulo",
)
ROUND_TRIP_MS: Final = (
    (2, 34, 31, 123, 113, 118, 151, 186, 144, 144),
    (34, 2, 19, 93, 82, 106, 170, 215, 163, 130),
    (31, 19, 2, 91, 75, 88, 175, 214, 166, 119),
    (123, 93, 91, 2, 13, 29, 232, 250, 234, 199),
    (113, 82, 75, 13, 2, 27, 245, 261, 246, 187),
    (118, 106, 88, 29, 27, 2, 258, 275, 260, 209),
    (151, 170, 175, 232, 245, 258, 2, 122, 9, 293),
    (186, 215, 214, 250, 261, 275, 122, 2, 115, 327),
    (144, 163, 166, 234, 246, 260, 9, 115, 2, 285),
    (144, 130, 119, 199, 187, 209, 293, 327, 285, 2),
)
"""Average round trips between regions, milliseconds: IBM Cloud, "Network latency" of its VPC documentation, 13 July to
11 August 2024, entered by hand, the upper half mirrored; 2 within a region is its figure between zones."""
SOURCE: Final = "IBM Cloud VPC, network latency dashboard, 13 July to 11 August 2024"
FSYNC_MS: Final = 2
CALIBRATION: Final = 3
BLOCKS: Final = 12
"""Measured after that."""
TRANSACTION_EVERY_MS: Final = 100
LIMIT_MS: Final = 600_000


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured for one number of validators."""

    nodes: int
    interval_ms: float
    """Mean time between two blocks at one node."""
    commit_ms: float
    """Median time from a transaction's submission to its block's commit at the same node."""
    messages: float
    """Consensus messages a block, of the whole network."""
    kilobytes: float
    """Their encoded bytes / 1,000."""
    busiest: float
    """The largest share of the time that a node spent on messages."""
    costs_us: dict[str, float]
    """CPU microseconds by kind of message: decode, verify, step."""


class RegionNetwork(Network):
    """Links as long as the table says; first in, first out."""

    def carry(self, sender: int, receiver: int, deliver: Callable[[], None]) -> None:
        """Take one message along."""
        trip = ROUND_TRIP_MS[sender % len(REGIONS)][receiver % len(REGIONS)]
        self.world.later(trip // 2 if sender < receiver else trip - trip // 2, deliver)


class LatencyNode(SimNode):
    """One message at a time; node 0 measures what a message costs."""

    busy_until_ms = 0.0
    worked_ms = 0.0
    costs: "Costs"
    done: "Callable[[SimNode, Sealed], None]"

    def new_core(self, records: Sequence[Record]) -> Consensus:
        """Node 0 verifies everything itself."""
        return Consensus(records, ED25519) if self.number == 0 else super().new_core(records)

    def commit(self, block: Any, transactions: tuple[bytes, ...], certificate: Certificate) -> None:
        """The block's one synced batch."""
        super().commit(block, transactions, certificate)
        self.done(self, self.replica.chain[-1])

    def take(self, sender: SimNode, message: Message) -> None:
        """Wait for one's turn, then handle the message."""
        cost_ms = self.costs.of(message)
        self.busy_until_ms = max(self.world.now_ms, self.busy_until_ms) + cost_ms
        self.worked_ms += cost_ms
        self.later(round(self.busy_until_ms) - self.world.now_ms, lambda: self._handle(sender, message))

    def _handle(self, sender: SimNode, message: Message) -> None:
        if self.number != 0 or not self.costs.measuring:
            self.feed(ev.Received(sender.peer, self.index_of(sender), message))
            return
        raw, index = encode_message(message), self.index_of(sender)
        verify.cache_clear()  # the other nodes of this process have verified the same message
        begun_s = time.process_time()
        self.feed(ev.Received(sender.peer, index, decode_message(raw)))
        self.costs.add(message, time.process_time() - begun_s)

    def _transmit(self, numbers: Sequence[int], message: Message) -> None:
        self.costs.sent(len(numbers), len(encode_message(message)))
        for number in numbers:
            self.deliver(number, message)


class Costs:
    """CPU by kind of message, and what was sent."""

    def __init__(self) -> None:
        self.measuring = True
        self.messages = self.bytes = 0
        self._samples: dict[type[Message], list[float]] = defaultdict(list)
        self._ms: dict[type[Message], float] = {}

    def add(self, message: Message, seconds: float) -> None:
        """One more sample."""
        self._samples[type(message)].append(seconds)

    def settle(self) -> None:
        """From now on the medians are charged."""
        self.measuring = False
        self.messages = self.bytes = 0
        self._ms = {kind: 1_000 * median(samples) for kind, samples in self._samples.items()}

    def of(self, message: Message) -> float:
        """Milliseconds that this message costs; nothing while it is being found out."""
        return self._ms.get(type(message), 0.0)

    def sent(self, copies: int, size: int) -> None:
        """Count what leaves a node."""
        self.messages += copies
        self.bytes += copies * size

    def microseconds(self) -> dict[str, float]:
        """By name."""
        return {kind.__name__: round(1_000 * cost, 1) for kind, cost in self._ms.items()}


class Unwatched:
    """A ``Watcher`` that looks at nothing: the checks are not part of a message's cost."""

    def signed(self, node: SimNode, request: fx.SignRequest) -> None: ...

    def sending(self, node: SimNode, message: Message) -> None: ...

    def received(self, node: SimNode, sender: int, message: Message) -> None: ...

    def stepped(self, node: SimNode, event: ev.Event) -> None: ...

    def effect(self, node: SimNode, effect: fx.Effect) -> None: ...

    def committed(self, node: SimNode, sealed: Sealed) -> None: ...

    def opened(self, node: SimNode, decoded: Decoded, written: Sequence[Record]) -> None: ...

    def lost(self, node: SimNode) -> None: ...

    def happened(self, mark: str) -> None: ...

    def contradicts_itself(self, node: SimNode, error: OperatorError) -> bool:
        """Nobody has a second key here."""
        return False


class LatencyRun(Simulation):
    """One size; ``row`` has the result."""

    node_class = LatencyNode

    def __init__(self, nodes: int) -> None:
        self.costs = Costs()
        super().__init__(1, plan=calm_plan(nodes, timing=TIMING, real_signatures=True))
        self.network = RegionNetwork(self.world, self.network.weather)
        self.watcher = Unwatched()
        self._submitted: dict[bytes, tuple[int, float]] = {}
        self._waited_ms: list[float] = []

    def measure(self) -> Row:
        """Run it. Raises ``InvariantViolation`` when the network does not decide."""
        world, first = self.world, self.nodes[0]
        for node in self.nodes:
            world.at(0, node.start)
        self._every(TRANSACTION_EVERY_MS, self._client, lasting=True)
        self._reach(CALIBRATION)
        self.costs.settle()
        begun_ms, base = world.now_ms, first.height
        for node in self._workers():
            node.worked_ms = 0.0
        self._waited_ms.clear()
        self._reach(base + BLOCKS)
        spent_ms, blocks = world.now_ms - begun_ms, first.height - base
        return Row(
            nodes=len(self.nodes),
            interval_ms=spent_ms / blocks,
            commit_ms=median(self._waited_ms),
            messages=self.costs.messages / blocks,
            kilobytes=self.costs.bytes / blocks / 1_000,
            busiest=max(node.worked_ms for node in self._workers()) / spent_ms,
            costs_us=self.costs.microseconds(),
        )

    def fsync_ms(self) -> int:
        """Always the same."""
        return FSYNC_MS

    def _workers(self) -> list[LatencyNode]:
        return [node for node in self.nodes if isinstance(node, LatencyNode)]

    def _add(self, node: SimNode) -> None:
        super()._add(node)
        if isinstance(node, LatencyNode):
            node.costs, node.done = self.costs, self._done

    def _client(self) -> None:
        """A transaction reaches every node by itself: what gossip costs is not measured here."""
        at = self.world.random.choice(self.nodes)
        raw = self.workload.transaction(60_000)
        self._submitted[transaction_id(raw)] = (at.number, self.world.now_ms)
        for node in self.nodes:
            self.network.carry(at.number, node.number, partial(_submit, node, raw))

    def _done(self, node: SimNode, sealed: Sealed) -> None:
        for raw in sealed.transactions:
            number, since_ms = self._submitted[transaction_id(raw)]
            if number == node.number:
                self._waited_ms.append(self.world.now_ms - since_ms)

    def _reach(self, height: int) -> None:
        if not self.world.run(lambda: all(node.height >= height for node in self.nodes), LIMIT_MS):
            raise InvariantViolation(f"{len(self.nodes)} calm validators do not reach block {height}")


def _submit(node: SimNode, raw: bytes) -> None:
    node.pool.admit(raw)
