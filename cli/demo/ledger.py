"""What the demo needs of a network: a port, so that the same script runs over HTTP and over a ledger in memory.

Every transaction sent must execute: the demo knows the rules and breaks none, so a refusal is a fault of the run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

PLATFORM: Final = "platform"
BANK: Final = "bank"
ASSESSORS: Final = ("assessor-east", "assessor-west")
HOSPITAL: Final = "hospital"
REGULATOR: Final = "regulator"
CLOCK: Final = "clock"
"""Not an organisation: whoever holds the clock key of the stepped chain."""
PLAN: Final = 0


class DemoError(Exception):
    """The network did something else than the rules say; the run is void."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A settled period, amounts in fen."""

    period: int
    members: int
    claims: int
    aid_fen: int
    fee_fen: int
    goal_fen: int
    """What the members (or the sponsor) were asked for."""
    share_fen: int
    """Of a sponsored period: what the share would have been."""
    sponsored: bool
    carry_fen: int
    """CARRY after the settlement."""

    @property
    def charged_fen(self) -> int:
        """What a member owes for the period."""
        return 0 if self.sponsored else self.share_fen


class Ledger(Protocol):
    """The network as its clients see it."""

    async def send(self, sender: str, bodies: Sequence[Any]) -> list[tuple[int, ...]]:
        """Sign with the sender's key, submit, wait until committed; the receipts' details in order.

        Raises ``DemoError`` when one is refused.
        """

    async def time_ms(self) -> int:
        """Ledger time of the newest block."""

    async def settled(self, period: int) -> Settled:
        """The settlement of ``period``, as soon as it is settled."""

    async def closed(self, period: int) -> None:
        """Return when ``period`` is closed."""

    async def investigators(self, claims: Sequence[int]) -> list[str]:
        """The firm drawn for each claim, as soon as all are drawn."""

    async def accounts(self) -> dict[str, int]:
        """The plan's journal: account -> fen."""
