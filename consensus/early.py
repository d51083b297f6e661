"""Messages for the next height that come before ours has ended (CONSENSUS §2): bounded per peer.

Of each validator's link only the highest round of each kind is kept, and only for open height + 1; everything else
for later heights is dropped: its sender is ahead, and we synchronise. Nothing here is verified yet, for V(next) is not
known.
"""

from collections.abc import Iterator

from ledger.limits import VALIDATORS_MAX

from .messages import PreparedRoundChange, Signed, SignedProposal

EarlyMessage = Signed | SignedProposal | PreparedRoundChange


def vote_round(message: EarlyMessage) -> int:
    """The round a message speaks of."""
    return message.change.message.round if isinstance(message, PreparedRoundChange) else message.message.round


def vote_height(message: EarlyMessage) -> int:
    """The height a message speaks of."""
    return message.change.message.height if isinstance(message, PreparedRoundChange) else message.message.height


class EarlyMessages:
    """At most one message of each kind for each of ``VALIDATORS_MAX`` peers."""

    def __init__(self) -> None:
        self._kept: dict[bytes, dict[type[EarlyMessage], tuple[int, EarlyMessage]]] = {}

    def keep(self, peer: bytes, index: int, message: EarlyMessage) -> None:
        """Keep ``message`` if it is of the highest round of its kind from ``peer``."""
        if peer not in self._kept and len(self._kept) >= VALIDATORS_MAX:
            return
        kinds = self._kept.setdefault(peer, {})
        held = kinds.get(type(message))
        if held is None or vote_round(message) > vote_round(held[1]):
            kinds[type(message)] = (index, message)

    @property
    def peers(self) -> int:
        """How many peers speak of the next height."""
        return len(self._kept)

    def all(self) -> Iterator[tuple[bytes, int, EarlyMessage]]:
        """(peer, index of its link at the time, message)."""
        for peer, kinds in self._kept.items():
            for index, message in kinds.values():
                yield peer, index, message

    def clear(self) -> None:
        """A new height is open."""
        self._kept.clear()

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))
