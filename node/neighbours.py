"""Whom this node has links with: the network, and the roster that says who each of them is (NODE §1).

The allow-list is the organisations on the chain plus the static configuration; when a block changes it, links that are
not allowed any more end, and those newly allowed are dialled. What arrives is handed on by class.
"""

from typing import Final, Protocol

from ledger.protocol import NEWEST, OLDEST
from ledger.state import Index
from ledger.tables import Table
from p2p.clock import Clock
from p2p.hello import Hello
from p2p.limits import Channel
from p2p.meter import NO_METER, Meter
from p2p.network import Network
from p2p.noise import NodeKey
from p2p.peers import Address

from .chain import Chain
from .config import Config, split_address
from .roster import ROSTER_FROM, Roster, make_roster

VERSION: Final = "0.1.0"
AGENT: Final = f"huzhu/{VERSION}"


class Receivers(Protocol):
    """Who handles what arrives, by class; each may raise ``PeerError``."""

    def consensus_message(self, peer: bytes, payload: bytes) -> None: ...

    def sync_message(self, peer: bytes, payload: bytes) -> None: ...

    def transactions_message(self, peer: bytes, payload: bytes) -> None: ...

    async def sync_question(self, peer: bytes, payload: bytes) -> bytes: ...

    def peer_changed(self, peer: bytes, up: bool) -> None: ...


class Neighbours:
    """See the head of this file. The owner starts and stops ``network``."""

    def __init__(
        self,
        config: Config,
        node_secret: bytes,
        chain: Chain,
        clock: Clock,
        receivers: Receivers,
        meter: Meter = NO_METER,
        protocol_newest: int = NEWEST,
    ) -> None:
        static: dict[bytes, list[Address]] = {}
        for peer in config.peers:
            static.setdefault(peer.node_key, []).append((peer.host, peer.port))
        self._static = frozenset(static)
        self._chain = chain
        self._receivers = receivers
        self.roster: Roster = self._read()
        """Of the open height."""
        self.network = Network(
            NodeKey(node_secret),
            Hello(chain.genesis.chain_id, OLDEST, protocol_newest, AGENT),
            listen=split_address(config.p2p.listen),
            peers=static,
            allow=lambda key: key in self._static or key in self.roster.allowed,
            on_message=self._received,
            on_peer=receivers.peer_changed,
            on_request=self._asked,
            applicant=lambda key: key in self.roster.applicants,
            clock=clock,
            meter=meter,
        )

    def seat_of(self, peer: bytes) -> int | None:
        """The position in V(open height) behind the link; None for all others."""
        return self.roster.index_of(peer)

    def refresh(self, touched: frozenset[Table | Index]) -> bool:
        """A block was committed that touched these: take over what it changed; whether the validator set is another."""
        before = self.roster
        if touched.isdisjoint(ROSTER_FROM) and before.validators == self._chain.view.next_validators:
            return False
        after = self._read()
        if after == before:
            return False
        self.roster = after
        self.network.refresh_allowed()
        self.tell_addresses()
        return after.validators != before.validators

    def tell_addresses(self) -> None:
        """Give the network the addresses that the chain knows."""
        for key, text in self.roster.addresses.items():
            self.network.set_addresses(key, [split_address(text)])

    def _read(self) -> Roster:
        """The roster of the newest state."""
        return make_roster(self._chain.current.state, self._chain.view.next_validators)

    def _received(self, peer: bytes, channel: Channel, payload: bytes) -> None:
        if channel is Channel.CONSENSUS:
            self._receivers.consensus_message(peer, payload)
        elif channel is Channel.SYNC:
            self._receivers.sync_message(peer, payload)
        else:
            self._receivers.transactions_message(peer, payload)

    async def _asked(self, peer: bytes, channel: Channel, payload: bytes) -> bytes:
        return await self._receivers.sync_question(peer, payload)
