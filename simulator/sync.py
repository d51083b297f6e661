"""Catching up: a simulated node asks one that claims a higher head for its blocks, and proves each (NODE §2)."""

from typing import TYPE_CHECKING, Final

from consensus import events as ev

from .names import peer_key
from .replica import Sealed

if TYPE_CHECKING:
    from .node import SimNode

SYNC_TIMEOUT_MS: Final = 800
FETCHES_MAX: Final = 1_000_000
"""Of one life: an answer to a former life's question is not taken for one to this life's."""


class Sync:
    """Of one life of a node; owns the claims of others."""

    def __init__(self, node: "SimNode") -> None:
        self._node = node
        self._claims: dict[int, int] = {}
        self._fetching = 0
        self._fetches = node.life * FETCHES_MAX

    def claim_to(self, other: "SimNode") -> None:
        """Tell ``other`` our head."""
        number, height = self._node.number, self._node.height
        self._node.reach(other, lambda node: node.sync.claim(number, height))

    def claim(self, number: int, height: int) -> None:
        """Node ``number`` says that its head is ``height``."""
        self._claims[number] = max(height, self._claims.get(number, 0))
        self._fetch_blocks()

    def _fetch_blocks(self) -> None:
        able = sorted(number for number, height in self._claims.items() if height > self._node.height)
        if not able or self._fetching:
            return
        asked = self._node.world.random.choice(able)
        self._fetches += 1
        mark = self._fetching = self._fetches
        first = self._node.height + 1
        self._node.world.trace(str(self._node), f"fetch {first} from {asked}")

        def answer(node: "SimNode") -> None:
            blocks = node.blocks_from(first)
            node.reach(self._node, lambda node: node.sync.take(asked, mark, blocks))

        def give_up() -> None:
            if self._fetching == mark:
                self._refute(asked)

        self._node.reach(self._node.peers.nodes[asked], answer)
        self._node.later(SYNC_TIMEOUT_MS, give_up)

    def take(self, number: int, mark: int, blocks: tuple[Sealed, ...]) -> None:
        """What ``number`` answered to our question ``mark``."""
        if self._fetching != mark:
            return
        life = self._node.life
        if not blocks:
            self._refute(number)
            return
        for sealed in blocks:
            if sealed.height != self._node.height + 1:
                continue
            if not self._proven(sealed):
                self._refute(number)
                return
            self._node.commit(sealed.block, sealed.transactions, sealed.certificate)
            if not self._node.alive or self._node.life != life:
                return
        self._fetching = 0
        self._fetch_blocks()

    def _proven(self, sealed: Sealed) -> bool:
        view, certificate = self._node.replica.view, sealed.certificate
        if (certificate.height, certificate.block_hash) != (view.height + 1, sealed.hash):
            return False
        return self._node.replica.oracle.certificate_fault(certificate, view.next_validators) is None

    def _refute(self, number: int) -> None:
        self._fetching = 0
        self._claims.pop(number, None)
        self._node.feed(ev.HeadRefuted(peer_key(number)))
        self._fetch_blocks()
