"""A driver of the agreement with everything around it scripted: core, clock, log, links, gossip."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

from consensus.core import Consensus
from consensus.effects import (
    Effect,
    SignRequest,
)
from consensus.events import (
    BlockDue,
    DueReason,
    Event,
    HeightStarted,
)
from consensus.log import Position
from consensus.records import Record, VoteRecord
from consensus.safety import SafetyRules
from ledger import beacon
from ledger.blocks import Evidence
from ledger.calendar import MS_PER_DAY
from ledger.errors import PeerError
from ledger.store import MemoryStore
from ledger.transactions import AdvanceClock, transaction_id
from ledger.votes import Prepare
from node.driver import Driver
from node.evidence import EvidencePool
from node.roster import make_roster
from node.seat import Seat
from p2p.clock import TimerHandle
from p2p.limits import Channel
from tests.ledger.chain import START_MS, Chain, seed
from tests.node.chains import Clock as Wall
from tests.node.chains import open_chain, put

PREPARE = Prepare(1, 0, bytes(32))
VOTE = VoteRecord(0, PREPARE)


class Script:
    """Stands in for the core: answers each kind of event with the effects the test wrote down."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.answers: dict[type[Event], list[Effect]] = {}
        self.height = self.round = 0

    def step(self, event: Event) -> list[Effect]:
        self.events.append(event)
        if isinstance(event, HeightStarted):
            self.height = event.context.height
        return self.answers.pop(type(event), [])

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if type(event) is kind]


class Timers:
    """A clock that runs only when told."""

    def __init__(self, wall: Wall) -> None:
        self.wall = wall
        self.now_s = 0.0
        self.running: dict[int, tuple[float, Callable[[], object]]] = {}
        self._number = 0

    def time_ms(self) -> int:
        return self.wall.ms

    def monotonic_s(self) -> float:
        return self.now_s

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> TimerHandle:
        self._number += 1
        number = self._number
        self.running[number] = (self.now_s + delay_s, callback)
        timers = self

        class Handle:
            def cancel(self) -> None:
                timers.running.pop(number, None)

        return Handle()

    def advance(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while due := sorted((at, number) for number, (at, _) in self.running.items() if at <= end_s):
            at, number = due[0]
            self.wall.ms += round((at - self.now_s) * 1_000)
            self.now_s = at
            self.running.pop(number)[1]()
        self.wall.ms += round((end_s - self.now_s) * 1_000)
        self.now_s = end_s


class Log:
    """The signing log: what was appended, compacted and batched."""

    def __init__(self, told: list[str]) -> None:
        self.told = told
        self.sequence = 0

    def append(self, records: Any) -> Position:
        self.told.append(f"append {len(list(records))}")
        self.sequence += 1
        return Position(self.sequence, 0)

    def batched(self, position: Position) -> None:
        self.told.append(f"batched {position.sequence}")

    def compact(self, epoch: int, height: int) -> None:
        self.told.append(f"compact {height}")


class Safety:
    """SafetyRules that note what they are told, in order."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def begin(self, epoch: int, height: int, validator_keys: tuple[bytes, ...]) -> None:
        self.told.append(f"begin {height}")

    def recorded(self, records: tuple[Record, ...]) -> None:
        self.told.append(f"recorded {len(records)}")

    def sign(self, request: SignRequest) -> bytes:
        self.told.append("sign")
        return b"s" * 64

    def beacon_proof(self, alpha: bytes) -> bytes:
        return beacon.prove(seed("platform beacon"), alpha)


class Links:
    """What was sent, and who was penalized."""

    def __init__(self, told: list[str]) -> None:
        self.told = told
        self.sent: list[tuple[bytes, bytes]] = []
        self.penalized: list[tuple[bytes, str]] = []

    def send(self, peer: bytes, channel: Channel, payload: bytes) -> bool:
        assert channel is Channel.CONSENSUS
        self.told.append("send")
        self.sent.append((peer, payload))
        return True

    def penalize(self, peer: bytes, error: PeerError) -> None:
        self.penalized.append((peer, error.code))


class Gossip:
    """Who holds what, and what was pushed again."""

    def __init__(self) -> None:
        self.pushed: list[bytes] = []
        self.held: dict[bytes, frozenset[bytes]] = {}

    def submit(self, transactions: Sequence[tuple[bytes, bytes]]) -> None:
        self.pushed += [transaction_id for transaction_id, _ in transactions]

    def holders(self, transaction_id: bytes) -> frozenset[bytes]:
        return self.held.get(transaction_id, frozenset())


class Silent:
    """A log for people that nobody reads."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **particulars: None


class Bench:
    """A driver with everything around it scripted; its seat is the platform's."""

    def __init__(self, *, observer: bool = False) -> None:
        self.source = Chain()
        self.wall = Wall(self.source.genesis.time_ms + 1_000)
        self.chain = open_chain(self.source.genesis, clock=self.wall)
        self.told: list[str] = []
        self.core, self.clock, self.links = Script(), Timers(self.wall), Links(self.told)
        self.gossip, self.spawned = Gossip(), list[str]()
        self.behind: list[tuple[bytes, int]] = []
        validators = self.chain.view.next_validators
        self.roster = make_roster(self.chain.current.state, validators)
        seat = Seat((validators[0].validator_key,), cast(SafetyRules, Safety(self.told)), Log(self.told))
        self.found: list[Evidence] = []
        self.evidence = EvidencePool(
            MemoryStore(),
            view=lambda: self.chain.view,
            write=lambda batch: None,
            tell=self.found.append,
            added=lambda: self.driver.evidence_waits(),
        )
        self.driver = Driver(
            core=cast(Consensus, self.core),
            seat=None if observer else seat,
            chain=self.chain,
            mempool=self.chain.mempool,
            evidence=self.evidence,
            gossip=self.gossip,
            links=self.links,
            clock=self.clock,
            roster=lambda: self.roster,
            spawn=self.spawn,
            behind=lambda peer, height: self.behind.append((peer, height)),
            random_bytes=bytes,
            log=cast(Any, Silent()),
        )

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.spawned.append(getattr(work, "__name__", "unnamed"))
        work.close()

    def link(self, index: int) -> bytes:
        return self.roster.links[index][0]

    def answer(self, kind: type[Event], *effects: Effect) -> None:
        self.core.answers[kind] = list(effects)

    def due(self) -> list[DueReason]:
        return [event.reason for event in self.core.of(BlockDue)]

    def wait_for_block(self, *transactions: bytes) -> list[bytes]:
        put(self.chain, self.source, *transactions)
        self.driver.pending()
        return [transaction_id(item) for item in transactions]

    def transaction(self) -> bytes:
        return self.source.transaction("clock", AdvanceClock(START_MS + 9 * MS_PER_DAY))
