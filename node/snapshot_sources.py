"""The peers that a snapshot is fetched from: whom to ask next, and what becomes of those that lie, dawdle or vanish.

Rules of this file

* An answer counts only when the caller's check accepts it; a check raises ``PeerError`` for a lie, which ends the
  peer's link and its place here. Then somebody else is asked the same.
* The one with the least expected delay is asked: questions open, times its usual delay. A timeout doubles that delay
  and the second one in a row costs the place; one that is busy is left alone for a moment.
* Without anybody left: ``NoSource``. What was fetched stays good, for it was checked by itself.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from ledger.errors import HuzhuError, PeerError
from p2p.clock import Alarm, Clock
from p2p.requests import RequestFailed, RequestRefused, RequestTimeout

from .snapshot_wire import Question, encode_answer

T = TypeVar("T")

ANSWER_TIMEOUT_S: Final = 10.0
TIMEOUTS_MAX: Final = 2
BUSY_PAUSE_S: Final = 0.05
BUSY_MAX: Final = 400
"""So often in a row a question may be refused as BUSY before the peer loses its place."""
FIRST_DELAY_S: Final = 0.0
"""Expected of a peer that was not asked yet: so each is tried."""


class Links(Protocol):
    """What fetching needs of the network."""

    def connected(self) -> list[bytes]: ...

    async def request(self, peer: bytes, payload: bytes, *, timeout_s: float) -> bytes: ...

    def penalize(self, peer: bytes, error: PeerError) -> None: ...


class NoSource(HuzhuError):
    """Nobody is left who has the snapshot."""


class TooLarge(HuzhuError):
    """The piece is larger than an answer may be: ask for its children."""


@dataclass
class _Source:
    key: bytes
    open: int = 0
    delay_s: float = FIRST_DELAY_S
    timeouts: int = 0
    busy: int = 0
    paused_until_s: float = 0.0


class Sources:
    """See the head of this file."""

    def __init__(self, links: Links, clock: Clock, peers: Iterable[bytes]) -> None:
        self._links = links
        self._clock = clock
        self._sources = {key: _Source(key) for key in peers}

    @property
    def peers(self) -> list[bytes]:
        """Those that still have a place."""
        return sorted(self._sources)

    async def fetch(self, question: Question, check: Callable[[bytes], T], *, divisible: bool = False) -> T:
        """What ``check`` makes of the first answer that it accepts.

        Raises ``NoSource``, and ``TooLarge`` for a question that is ``divisible``."""
        payload = encode_answer(question)
        while True:
            source = await self._next()
            begun_s = self._clock.monotonic_s()
            source.open += 1
            try:
                raw = await self._links.request(source.key, payload, timeout_s=ANSWER_TIMEOUT_S)
                took_s = self._clock.monotonic_s() - begun_s
                found = check(raw)
            except RequestRefused as refusal:
                if divisible and refusal.code == "TOO_LARGE":
                    raise TooLarge(refusal.code) from refusal
                self._refused(source, refusal.code)
            except RequestTimeout:
                self._timed_out(source)
            except RequestFailed:
                self.drop(source.key)
            except PeerError as error:
                self.blame(source.key, error)
            else:
                source.delay_s = 0.7 * source.delay_s + 0.3 * took_s
                source.timeouts = source.busy = 0
                return found
            finally:
                source.open -= 1

    async def _next(self) -> _Source:
        while self._sources:
            now_s = self._clock.monotonic_s()
            able = [source for source in self._sources.values() if source.paused_until_s <= now_s]
            if able:
                return min(able, key=lambda source: ((source.open + 1) * source.delay_s, source.open, source.key))
            await Alarm(self._clock).wait(BUSY_PAUSE_S)
        raise NoSource("nobody is left who has the snapshot")

    def _refused(self, source: _Source, code: str) -> None:
        source.busy += 1
        if code != "BUSY" or source.busy > BUSY_MAX:
            self.drop(source.key)
        source.paused_until_s = self._clock.monotonic_s() + BUSY_PAUSE_S

    def _timed_out(self, source: _Source) -> None:
        source.timeouts += 1
        source.delay_s = max(ANSWER_TIMEOUT_S, 2 * source.delay_s)
        if source.timeouts >= TIMEOUTS_MAX:
            self.drop(source.key)

    def drop(self, peer: bytes) -> None:
        """It is not asked any more."""
        self._sources.pop(peer, None)

    def blame(self, peer: bytes, error: PeerError) -> None:
        """It lied: its link ends."""
        self.drop(peer)
        self._links.penalize(peer, error)

    def blame_all(self, error: PeerError) -> None:
        """All of them offered what does not hold."""
        for peer in self.peers:
            self.blame(peer, error)
