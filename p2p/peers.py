"""What is known of each other node: its addresses, its link, its failures. Pure; ``Network`` is the only owner.

The redial policy and the bans are arithmetic over an injected clock and randomness: delays double from
``REDIAL_FIRST_S`` to ``REDIAL_MAX_S``, jittered; a strike bans for a time that doubles, bounded, and is forgotten.
"""

import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from .clock import Alarm, TimerHandle
from .frames import OutQueue
from .limits import (
    ADDRESSES_PER_PEER_MAX,
    BAN_FIRST_S,
    BAN_MAX_S,
    REDIAL_FIRST_S,
    REDIAL_MAX_S,
    REDIAL_RESET_AFTER_S,
    STRANGERS_MAX,
    STRIKES_FORGOTTEN_AFTER_S,
    Channel,
)
from .link import Direction, Link, Traffic
from .reasons import CloseReason

Address = tuple[str, int]
"""Host name or IP address, and port."""


@dataclass(frozen=True)
class PeerInfo:
    """One peer as operators see it: ``peers list`` and ``peers why KEY``."""

    key: bytes
    connected: bool
    status_only: bool
    """Connected, but one side is only an applicant to the other."""
    address: Address | None
    """Of the link, or the next one that would be dialled."""
    direction: Direction | None
    """``out``: this node dialled."""
    connected_since_ms: int | None
    rtt_ms: float | None
    clock_offset_ms: float | None
    """The peer's clock minus ours."""
    version: int | None
    agent: str
    queued_bytes: dict[Channel, int]
    """What waits to be sent on the link now."""
    bytes_in: dict[Channel, int]
    bytes_out: dict[Channel, int]
    drops: dict[Channel, int]
    """Messages to this peer that were dropped because its queue was full or they were too large."""
    dials_failed: int
    """In a row, since the last good link."""
    banned_for_s: float
    last_error: CloseReason | None
    """Why the last link ended or the last attempt failed; kept while connected."""
    last_error_ms: int | None


@dataclass(frozen=True)
class Stranger:
    """Somebody who dialled this node and got no link: what ``peers why`` knows of those whom we do not dial."""

    key: bytes | None
    """None: refused before the handshake proved one (another chain, no common version)."""
    host: str
    error: CloseReason
    error_ms: int
    times: int
    """Refused for this reason, in a row."""


class Strangers:
    """The last refusals of those who dialled, bounded; the newest of each key or host counts."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes | str, Stranger] = OrderedDict()

    def note(self, key: bytes | None, host: str, error: CloseReason, now_ms: int) -> None:
        """One more was refused."""
        name = host if key is None else key
        before = self._known.pop(name, None)
        times = before.times + 1 if before is not None and before.error.code == error.code else 1
        self._known[name] = Stranger(key, host, error, now_ms, times)
        if len(self._known) > STRANGERS_MAX:
            self._known.popitem(last=False)

    def forget(self, key: bytes) -> None:
        """It has a link now."""
        self._known.pop(key, None)

    def all(self) -> list[Stranger]:
        """The newest last."""
        return list(self._known.values())


def redial_delay_s(failures: int, chance: random.Random) -> float:
    """Seconds before the next dial after ``failures`` in a row: half to all of the doubled delay."""
    return min(REDIAL_MAX_S, REDIAL_FIRST_S * 2.0 ** min(failures, 16)) * (0.5 + chance.random() / 2)


@dataclass
class PeerState:
    """The mutable row of one peer."""

    key: bytes
    alarm: Alarm
    """Rings when something changed that the dialler should look at."""
    static: tuple[Address, ...] = ()
    told: tuple[Address, ...] = ()
    link: Link | None = None
    orphan: OutQueue | None = None
    """Of a link that ended as DUPLICATE while the other is not up here yet; set exactly during a handover."""
    handover: TimerHandle | None = None
    reported: bool = False
    """Whether the owner was last told that the peer is up."""
    failures: int = 0
    next_dial_s: float = 0.0
    strikes: int = 0
    last_strike_s: float = 0.0
    banned_until_s: float = 0.0
    last_error: CloseReason | None = None
    last_error_ms: int | None = None
    traffic: Traffic = field(default_factory=Traffic)
    """Of links that are over."""

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where the peer may be, static ones first, no repetitions."""
        return tuple(dict.fromkeys(self.static + self.told))[:ADDRESSES_PER_PEER_MAX]

    @property
    def up(self) -> bool:
        """Whether the peer counts as connected, a handover between two links included."""
        return self.link is not None or self.handover is not None

    @property
    def usable(self) -> bool:
        """``up``, and by a full link as far as known."""
        return self.link.full if self.link is not None else self.handover is not None and self.reported

    def address_to_dial(self) -> Address | None:
        """Addresses take turns, one a failure."""
        addresses = self.addresses
        return addresses[self.failures % len(addresses)] if addresses else None

    def tell(self, addresses: Sequence[Address]) -> bool:
        """Replace the addresses told; true when they changed."""
        told = tuple(addresses[:ADDRESSES_PER_PEER_MAX])
        changed = told != self.told
        self.told = told
        return changed

    def failed(self, reason: CloseReason, now_s: float, now_ms: int, chance: random.Random) -> None:
        """A dial failed, or a link ended: note why, and when to try again."""
        self.last_error, self.last_error_ms = reason, now_ms
        self.next_dial_s = now_s + redial_delay_s(self.failures, chance)
        self.failures += 1

    def was_good(self, lived_s: float) -> None:
        """A link that lived ``lived_s`` seconds is over."""
        if lived_s >= REDIAL_RESET_AFTER_S:
            self.failures = 0

    def retry_now(self, now_s: float) -> None:
        """Something changed in the peer's favour: dial at once."""
        self.failures = 0
        self.next_dial_s = now_s

    def strike(self, now_s: float) -> float:
        """The peer broke the protocol: ban it; seconds of the ban."""
        if now_s - self.last_strike_s > STRIKES_FORGOTTEN_AFTER_S:
            self.strikes = 0
        ban_s = min(BAN_MAX_S, BAN_FIRST_S * 2.0 ** min(self.strikes, 16))
        self.strikes += 1
        self.last_strike_s = now_s
        self.banned_until_s = now_s + ban_s
        return ban_s

    def info(self, now_s: float) -> PeerInfo:
        """The row as a value."""
        total = Traffic()
        total.add(self.traffic)
        link = self.link
        if link is not None:
            total.add(link.traffic)
        return PeerInfo(
            key=self.key,
            connected=self.up,
            status_only=link is not None and not link.full,
            address=self.address_to_dial() if link is None else link.address,
            direction=None if link is None else link.direction,
            connected_since_ms=None if link is None else link.connected_ms,
            rtt_ms=None if link is None else link.rtt_ms,
            clock_offset_ms=None if link is None else link.clock_offset_ms,
            version=None if link is None else link.version,
            agent="" if link is None else link.agent,
            queued_bytes={channel: 0 if link is None else link.queue.pending_bytes(channel) for channel in Channel},
            bytes_in=total.bytes_in,
            bytes_out=total.bytes_out,
            drops=total.drops,
            dials_failed=self.failures,
            banned_for_s=max(0.0, self.banned_until_s - now_s),
            last_error=self.last_error,
            last_error_ms=self.last_error_ms,
        )
