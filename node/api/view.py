"""What the API sees of the node: a port, implemented by the node's process and by a fake in tests.

The API never writes. Everything it reads of the chain comes from one of two states: ``current`` (after the newest
block) and ``certified`` (the one that the newest header certifies, its parent's: proofs verify against it alone).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ledger.state import StateReader

from ..admission import Admission
from ..blockstore import BlockReader
from ..mempool import Mempool


class StateAt(Protocol):
    """A state that no later block changes, as long as it is held."""

    @property
    def height(self) -> int:
        """The newest block this state includes."""
        ...

    @property
    def blocks(self) -> BlockReader: ...

    @property
    def state(self) -> StateReader: ...


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """Where the node is; what ``/v1/status``, ``/readyz`` and the summary line say."""

    name: str
    version: str
    network: str
    """The chain's name, from its genesis."""
    node_key: bytes
    role: str
    """``validator`` or ``observer``."""
    validator_index: int | None
    """Position in the validator set of the next height."""
    epoch: int
    round: int
    step: str
    """Of the agreement at the open height."""
    signing: bool
    not_signing_because: str | None
    """Why a validator does not vote now."""
    syncing: bool
    informed: bool
    """Whether enough validators told their heads to know how far behind the node is."""
    best_height: int
    """The highest head known, own one included."""
    eta_seconds: float | None
    """Until caught up, at the present speed."""
    peers_connected: int
    clock_offset_ms: float | None
    """Own clock minus the median of the peers'."""
    disk_free_bytes: int
    uptime_seconds: float
    disk_shortage: str | None = None
    """Why there is no room to go on as usual."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else the parts have to say, by part."""


class NodeView(Protocol):
    """The node, as the API needs it."""

    @property
    def chain_id(self) -> bytes: ...

    @property
    def genesis_raw(self) -> bytes:
        """The exact bytes of the genesis file."""
        ...

    @property
    def current(self) -> StateAt: ...

    @property
    def certified(self) -> StateAt:
        """After a start this may be ``current`` itself, until the next block: then nothing is provable yet."""
        ...

    @property
    def mempool(self) -> Mempool: ...

    @property
    def admission(self) -> Admission: ...

    @property
    def loop_alive(self) -> bool:
        """Whether the event loop's heartbeat is recent."""
        ...

    def clock_ms(self) -> int:
        """The node's clock in consensus time."""
        ...

    def status(self) -> NodeStatus: ...

    def peers(self) -> Sequence[Any]:
        """Frozen dataclasses or dicts, one a known peer, shown as they are."""
        ...

    def strangers(self) -> Sequence[Any]:
        """Who dialled lately and got no link; shown as they are."""
        ...

    def render_metrics(self) -> bytes:
        """The text of ``/metrics``."""
        ...
