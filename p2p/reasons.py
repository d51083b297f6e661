"""Why a link ended or never came up: the table of codes both sides read.

A reason travels in the last control message of a link, so what one operator sees, the other sees too. ``fault`` marks
those that are the remote side's breach of the protocol: they cost it a strike and a ban of bounded length.
"""

from dataclasses import dataclass
from typing import Final, Literal

from ledger.errors import PeerError

from .limits import REASON_CODE_BYTES_MAX, REASON_DETAIL_BYTES_MAX

Side = Literal["us", "peer", "network"]


@dataclass(frozen=True)
class Meaning:
    """One row of the table."""

    text: str
    fault: bool = False


REASONS: Final[dict[str, Meaning]] = {
    # Before there is a link.
    "NOT_HUZHU": Meaning("the other side does not speak this protocol"),
    "WRONG_CHAIN": Meaning("the other node belongs to another chain"),
    "PROTOCOL_MISMATCH": Meaning("no protocol version is spoken by both"),
    "HANDSHAKE_FAILED": Meaning("the handshake could not be authenticated"),
    "HANDSHAKE_TIMEOUT": Meaning("the handshake was not finished in time"),
    "WRONG_PEER": Meaning("another node key answers at this address"),
    "UNKNOWN_PEER": Meaning("the node key is not on the allow-list"),
    "TOO_MANY_APPLICANTS": Meaning("every place for a status-only link is taken"),
    "SELF": Meaning("the address leads back to this node"),
    "BANNED": Meaning("the peer broke the protocol recently; it may come back later"),
    "UNREACHABLE": Meaning("no connection could be made"),
    # Ordinary ends.
    "SHUTDOWN": Meaning("the node is stopping"),
    "DUPLICATE": Meaning("another link to the same node is kept"),
    "ACCESS_CHANGED": Meaning("a status-only link becomes a full one; dial again"),
    "NO_LONGER_ALLOWED": Meaning("the node key left the allow-list"),
    "IDLE": Meaning("nothing was heard for too long"),
    "STALLED": Meaning("the peer does not read what it is sent"),
    "CONNECTION_LOST": Meaning("the connection broke without a reason being given"),
    "NONCES_EXHAUSTED": Meaning("the link's keys are used up; a new link is needed"),
    "CLOSED_BY_PEER": Meaning("the peer ended the link with a reason we do not know"),
    # Breaches.
    "MALFORMED": Meaning("bytes that are no valid message", fault=True),
    "BAD_FRAME": Meaning("a frame that is not authentic or breaks the framing", fault=True),
    "TOO_LARGE": Meaning("a message over the limit of its class", fault=True),
    "FLOOD": Meaning("more messages or bytes than the limit of the class allows", fault=True),
    "NOT_PERMITTED": Meaning("more than status was sent on a status-only link", fault=True),
    "UNSOLICITED": Meaning("an answer to a question that was never asked", fault=True),
}


@dataclass(frozen=True)
class CloseReason:
    """Why a link ended, and who ended it (``network``: nobody said)."""

    code: str
    detail: str
    by: Side

    def __str__(self) -> str:
        return f"{self.code} ({self.by}): {self.detail}" if self.detail else f"{self.code} ({self.by})"


class LinkRefused(PeerError):
    """The handshake ended without a link; ``by`` tells which side refused."""

    def __init__(self, code: str, detail: str = "", *, by: Side = "us", peer: bytes | None = None) -> None:
        super().__init__(code, detail)
        self.by = by
        self.peer = peer
        """The key that was proved before it was refused, if the handshake came so far."""

    @property
    def reason(self) -> CloseReason:
        """The refusal as the reason to show."""
        return CloseReason(self.code, self.detail, self.by)


def is_fault(code: str) -> bool:
    """Whether ``code``, found by us, is a breach that costs the peer a strike. Codes of upper layers are breaches."""
    meaning = REASONS.get(code)
    return meaning is None or meaning.fault


def told(code: str, detail: str) -> CloseReason:
    """A reason as the peer told it, cleaned for our logs: an unknown code or unprintable text cannot do harm there."""
    clean = "".join(c if c.isprintable() else "?" for c in detail[:REASON_DETAIL_BYTES_MAX])
    if code in REASONS:
        return CloseReason(code, clean, "peer")
    shown = "".join(c if c.isprintable() else "?" for c in code[:REASON_CODE_BYTES_MAX])
    return CloseReason("CLOSED_BY_PEER", f"{shown}: {clean}" if clean else shown, "peer")
