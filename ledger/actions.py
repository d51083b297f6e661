"""What organisations may decide together: the actions of a proposal, as values (LEDGER §2).

A tagged array each, like transactions; they stand in ``Propose`` and in the rows of ``proposals``. What each checks and
does is ``enactment``'s. Numbers and names, once released, keep their meaning.
"""

from .codec import Wire
from .params import PlanParams


class AdmitOrganisation(Wire, frozen=True, tag="admit_organisation"):
    """A new organisation; it gets a seat by a proposal of its own."""

    name: str
    roles: int
    """Bit set of ``roles.Role``."""
    key: bytes
    node_keys: tuple[bytes, ...]
    address: str


class SetOrganisation(Wire, frozen=True, tag="set_organisation"):
    """An organisation's state: 0 active again, 1 suspended, 2 removed for ever."""

    organisation: int
    state: int


class SetRoles(Wire, frozen=True, tag="set_roles"):
    """What an organisation does from now on."""

    organisation: int
    roles: int


class OpenPlan(Wire, frozen=True, tag="open_plan"):
    """A new plan; its first notice is the next one of the calendar."""

    name: str
    params: PlanParams


class AddPlanVersion(Wire, frozen=True, tag="add_plan_version"):
    """Other parameters of a plan from 00:00 of ``effective_day`` on."""

    plan: int
    effective_day: int
    params: PlanParams


class RunOffPlan(Wire, frozen=True, tag="run_off_plan"):
    """The plan takes no members any more and ends when nothing is open (``run_off``)."""

    plan: int


class AddValidator(Wire, frozen=True, tag="add_validator"):
    """A seat for an organisation, in force two blocks later."""

    organisation: int
    validator_key: bytes
    beacon_key: bytes
    forced: bool
    """Also while there are so few that one change is a third of them."""


class RemoveValidator(Wire, frozen=True, tag="remove_validator"):
    """A seat votes no more, two blocks later; its organisation may observe."""

    seat: int
    forced: bool
    """Also when fewer than four remain."""


class RotateValidator(Wire, frozen=True, tag="rotate_validator"):
    """Other keys for a seat, at once both; its record of votes goes on."""

    seat: int
    validator_key: bytes
    beacon_key: bytes


class ReplaceKey(Wire, frozen=True, tag="replace_key"):
    """Another key for an organisation that has lost its own."""

    organisation: int
    key: bytes


class ClawBackClaim(Wire, frozen=True, tag="claw_back_claim"):
    """PAID -> CLAWBACK, without a court."""

    claim: int
    decision: bytes
    """SHA-256 of what the organisations decided on, 32 bytes."""


class WriteOffClaim(Wire, frozen=True, tag="write_off_claim"):
    """CLAWBACK -> WRITTEN_OFF, without a court."""

    claim: int
    decision: bytes


class ActivateProtocol(Wire, frozen=True, tag="activate_protocol"):
    """Another version of the protocol from block ``height`` on (``upgrades``)."""

    version: int
    height: int


Action = (
    AdmitOrganisation
    | SetOrganisation
    | SetRoles
    | OpenPlan
    | AddPlanVersion
    | RunOffPlan
    | AddValidator
    | RemoveValidator
    | RotateValidator
    | ReplaceKey
    | ClawBackClaim
    | WriteOffClaim
    | ActivateProtocol
)

VALIDATOR_ACTIONS = (AddValidator, RemoveValidator, RotateValidator)
"""At most one of these is enacted in a block (CONSENSUS §5)."""
