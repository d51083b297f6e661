"""Every limit of the links, together and by name. Units come last in the names.

Sizes of messages are part of the protocol: both ends must agree on them. Queue bounds, rates and times are local
choices, generous enough that an honest peer never meets them.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

MIB: Final = 1_048_576


class Channel(IntEnum):
    """Class of a message. A lower number is always sent first (NODE §1: a vote never waits behind a block)."""

    CONTROL = 0
    CONSENSUS = 1
    SYNC = 2
    TRANSACTIONS = 3


class WhenFull(IntEnum):
    """What a full outgoing queue does with one message more."""

    DROP_NEWEST = 0
    """Refuse it: ``push`` answers false and the drop is counted."""
    DROP_OLDEST = 1
    """Forget the oldest message not begun: what is newer makes it stale, and repair is by pull (CONSENSUS §2)."""
    WAIT = 2
    """Refuse it, but a sender that can wait may await room (``Link.send_when_room``)."""


@dataclass(frozen=True)
class ChannelLimits:
    """Bounds of one class on one link."""

    message_bytes_max: int
    """Largest message; one byte more is a ``PeerError`` at the receiver and a refusal at the sender."""
    queue_messages_max: int
    queue_bytes_max: int
    when_full: WhenFull
    messages_per_s: int
    """Incoming rate a peer may sustain; twice as many may come at once."""
    bytes_per_s: int
    """Incoming rate in bytes; twice as many (never fewer than two messages of the largest size) may come at once."""


# A consensus message may hold a body of 4 MiB *and* its justification; the other classes cut their batches themselves.
CHANNEL_LIMITS: Final[dict[Channel, ChannelLimits]] = {
    Channel.CONTROL: ChannelLimits(1_024, 64, 64 * 1_024, WhenFull.DROP_NEWEST, 50, 65_536),
    Channel.CONSENSUS: ChannelLimits(6 * MIB, 4_096, 32 * MIB, WhenFull.DROP_OLDEST, 5_000, 256 * MIB),
    Channel.SYNC: ChannelLimits(16 * MIB, 256, 48 * MIB, WhenFull.WAIT, 2_000, 512 * MIB),
    Channel.TRANSACTIONS: ChannelLimits(4 * MIB, 1_024, 16 * MIB, WhenFull.DROP_NEWEST, 5_000, 128 * MIB),
}

STATUS_ONLY_LIMITS: Final[dict[Channel, ChannelLimits]] = CHANNEL_LIMITS | {
    Channel.SYNC: ChannelLimits(65_536, 16, MIB, WhenFull.WAIT, 20, 65_536)
}
"""Of a link with an applicant: questions and answers of the sync class, small and few; nothing else."""
APPLICANTS_MAX: Final = 16
"""Status-only links at a time."""

NOISE_MESSAGE_BYTES_MAX: Final = 65_535
"""Noise §3: no message is longer, its 16-byte tag included."""
TAG_BYTES: Final = 16
FRAME_PLAINTEXT_BYTES_MAX: Final = NOISE_MESSAGE_BYTES_MAX - TAG_BYTES
FRAME_PAYLOAD_BYTES_MAX: Final = FRAME_PLAINTEXT_BYTES_MAX - 1
"""What one frame carries of a message: the plaintext without the head byte."""
KEY_BYTES: Final = 32

HELLO_BODY_BYTES_MAX: Final = 512
AGENT_BYTES_MAX: Final = 64
REASON_CODE_BYTES_MAX: Final = 32
REASON_DETAIL_BYTES_MAX: Final = 512

SOCKET_BUFFER_BYTES: Final = 262_144
"""Kernel send buffer: what a vote may wait behind once frames were handed over (2 ms at 1 Gbit/s)."""
WRITE_BUFFER_BYTES: Final = 131_072
"""The same, in the process: the writer waits while more than this is not yet in the kernel."""

ACCEPTING_TURNS: Final = 8
"""Turns of the event loop in which a stopping node still closes what it has accepted; asyncio takes five."""
READER_BYTES: Final = 262_144
"""What is read at once; the stream buffers at most twice as much."""

HANDSHAKE_TIMEOUT_S: Final = 10.0
PING_INTERVAL_S: Final = 5.0
IDLE_TIMEOUT_S: Final = 20.0
"""A link on which nothing was received, or no write could be finished, for so long is closed."""
LINGER_S: Final = 2.0
"""How long a closed link is read for the other side's end, so that the reason reaches it."""
HANDOVER_S: Final = 2.0
"""Of two links of a simultaneous dial one ends as DUPLICATE; the other must be up within this, or the peer is down."""

PENDING_HANDSHAKES_MAX: Final = 128
PENDING_HANDSHAKES_PER_HOST_MAX: Final = 32

DIAL_TIMEOUT_S: Final = 10.0
REDIAL_FIRST_S: Final = 0.05
REDIAL_MAX_S: Final = 30.0
REDIAL_RESET_AFTER_S: Final = 10.0
"""A link that lived so long was a good one: the next redial starts from ``REDIAL_FIRST_S`` again."""
ADDRESSES_PER_PEER_MAX: Final = 8

BAN_FIRST_S: Final = 10.0
BAN_MAX_S: Final = 300.0
"""A ban doubles with each strike up to this; it stays short, for a banned validator also costs the quorum."""
STRIKES_FORGOTTEN_AFTER_S: Final = 1_800.0
STRANGERS_MAX: Final = 64
"""Refused keys and hosts that are remembered for operators."""

REQUESTS_IN_FLIGHT_PER_PEER_MAX: Final = 8
"""Own questions open to one peer; the next one waits, within its own timeout."""
REQUESTS_WAITING_PER_PEER_MAX: Final = 256
"""Own questions waiting for such a place; one more fails at once."""
REQUESTS_SERVED_PER_PEER_MAX: Final = 8
REQUESTS_SERVED_MAX: Final = 64
"""Questions being answered; one more is refused as BUSY."""

PUSH_DELAY_S: Final = 0.005
"""After one push the next one waits so long for others to go with it; the first one leaves at once."""
PUSH_BYTES: Final = 262_144
"""A batch this large is pushed at once."""
PUSH_ITEMS_MAX: Final = 4_096
ANNOUNCE_DELAY_S: Final = 0.6
"""How long a received transaction waits before its id is told: what is decided by then need not be told. Less than the
bound of CONSENSUS §2, after which it matters who holds it."""
IDS_PER_MESSAGE_MAX: Final = 4_096
KNOWN_IDS_MAX: Final = 65_536
"""Remembered ids; about 15 MB. Beyond, the oldest is forgotten and the mempool is asked."""
WANTED_IDS_MAX: Final = 16_384
"""Ids heard of, but not here; one more is not fetched until it is heard of again."""
WANTED_PER_PEER_MAX: Final = 4_096
"""Ids asked of one peer and not yet here."""
PULL_TIMEOUT_S: Final = 2.0
"""After so long without the transaction the next peer that announced it is asked."""
PULL_ATTEMPTS_MAX: Final = 8
"""After so many askings the id is forgotten until it is heard of again."""
