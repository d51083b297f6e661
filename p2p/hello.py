"""The hello both sides send first, in clear: what must agree before it is worth shaking hands (NODE §1).

``magic(8) ‖ length(2) ‖ min(2) ‖ max(2) ‖ chain_id(32) ‖ agent length(1) ‖ agent ‖ anything newer``, big-endian. Bytes
after the known fields are ignored, so that a later version may append; both hellos, as sent, are the prologue of the
Noise handshake, so nobody on the way can change them unseen. Each side compares by itself: both operators read the same
difference, each as "ours" and "theirs".
"""

from dataclasses import dataclass
from typing import Final

from ledger.errors import PeerError

from .limits import AGENT_BYTES_MAX, HELLO_BODY_BYTES_MAX, KEY_BYTES

MAGIC: Final = b"HUZHU\r\n\x01"
HEAD_BYTES: Final = len(MAGIC) + 2
_FIXED_BYTES: Final = 2 + 2 + KEY_BYTES + 1


@dataclass(frozen=True)
class Hello:
    """What a node says of itself before anything else."""

    chain_id: bytes
    protocol_min: int
    protocol_max: int
    agent: str = ""
    """Software and version, for the other side's operator; at most 64 bytes of UTF-8."""

    def __post_init__(self) -> None:
        if len(self.chain_id) != KEY_BYTES:
            raise ValueError("chain_id is 32 bytes")
        if not 0 < self.protocol_min <= self.protocol_max <= 0xFFFF:
            raise ValueError(f"protocol range {self.protocol_min}..{self.protocol_max}")
        if len(self.agent.encode()) > AGENT_BYTES_MAX:
            raise ValueError(f"agent is longer than {AGENT_BYTES_MAX} bytes")

    def encode(self) -> bytes:
        """The bytes that are sent."""
        agent = self.agent.encode()
        body = self.protocol_min.to_bytes(2, "big") + self.protocol_max.to_bytes(2, "big") + self.chain_id
        body += bytes([len(agent)]) + agent
        return MAGIC + len(body).to_bytes(2, "big") + body


def body_bytes(head: bytes) -> int:
    """Length of the body announced by the first ``HEAD_BYTES`` bytes. Raises ``PeerError`` NOT_HUZHU."""
    if len(head) != HEAD_BYTES or head[: len(MAGIC)] != MAGIC:
        raise PeerError("NOT_HUZHU", f"ours begins with {MAGIC.hex()}, theirs with {head[: len(MAGIC)].hex()}")
    length = int.from_bytes(head[len(MAGIC) :], "big")
    if not _FIXED_BYTES <= length <= HELLO_BODY_BYTES_MAX:
        raise PeerError("NOT_HUZHU", f"a hello of {length} bytes")
    return length


def parse(raw: bytes) -> Hello:
    """The hello in ``raw`` (head and body). Raises ``PeerError`` NOT_HUZHU when it is none."""
    if body_bytes(raw[:HEAD_BYTES]) != len(raw) - HEAD_BYTES:
        raise PeerError("NOT_HUZHU", "the hello has another length than it announces")
    body = raw[HEAD_BYTES:]
    end = _FIXED_BYTES + body[_FIXED_BYTES - 1]
    if end > len(body):
        raise PeerError("NOT_HUZHU", "the agent does not fit into the hello")
    try:
        agent = body[_FIXED_BYTES:end].decode()
        return Hello(body[4:36], int.from_bytes(body[:2], "big"), int.from_bytes(body[2:4], "big"), agent)
    except ValueError as error:
        raise PeerError("NOT_HUZHU", str(error)) from error


def agree(ours: Hello, theirs: Hello) -> int:
    """The highest common protocol version. Raises ``PeerError`` WRONG_CHAIN or PROTOCOL_MISMATCH."""
    if ours.chain_id != theirs.chain_id:
        raise PeerError("WRONG_CHAIN", f"ours {ours.chain_id.hex()}, theirs {theirs.chain_id.hex()}")
    version = min(ours.protocol_max, theirs.protocol_max)
    if version < max(ours.protocol_min, theirs.protocol_min):
        detail = f"ours {ours.protocol_min}..{ours.protocol_max}, theirs {theirs.protocol_min}..{theirs.protocol_max}"
        raise PeerError("PROTOCOL_MISMATCH", detail)
    return version
