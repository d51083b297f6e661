"""What each action of a proposal checks and does (LEDGER §2, §3; CONSENSUS §5).

Rules of this file
- ``enact`` is the only way; it checks everything again when the time has come, so a proposal is tried at once by
  running it in an attempt that is taken back (``governance.propose``).
- A plan version begins on a later day than today, never before one that was decided already: so it touches no notice
  that is out, no closed period and no past diagnosis. Another ``year_cap`` begins on 1 January. The id of a class keeps
  its weight, and a dropped one is not used again.
- The consortium always keeps an active organisation for each of the roles without which plans stand still, and two
  firms of assessors, for none may review what it investigated.
- One change of a validator a block, fewer than a third of them, and never below four, unless forced.
"""

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace
from nacl.bindings import crypto_core_ed25519_is_valid_point

from . import actions, organisation_keys, plan_cycle, plans, remedies, run_off, upgrades
from .calendar import civil_from_day, day_of
from .errors import OperatorError, TransactionRejected
from .genesis_file import (
    GenesisOrganisation,
    organisation_lines,
    parse_plan,
    plan_params_lines,
    read_organisation,
)
from .limits import NAME_BYTES_MAX, VALIDATORS_MAX
from .organisations import OrganisationState, add, with_role
from .params import PlanParams
from .roles import Role
from .rows import Organisation, Plan, Validator
from .signing import PUBLIC_KEY_BYTES
from .state import Index, State
from .toml_reader import TomlTable

VALIDATORS_MIN: Final = 4
_EFFECTIVE_DAYS_MAX: Final = 3_650
_HOLDERS_MIN: Final = {Role.PLATFORM: 1, Role.BANK: 1, Role.ASSESSOR: 2}
_EVERY_ROLE: Final = int(Role.PLATFORM | Role.BANK | Role.ASSESSOR | Role.HOSPITAL | Role.REGULATOR)


def enact(state: State, action: actions.Action) -> None:
    """Do what was decided. Raises ``TransactionRejected``; then the caller takes everything back."""
    RULES[type(action)](state, action)


# ---- organisations --------------------------------------------------------------------------------------------------


def _admit(state: State, action: actions.AdmitOrganisation) -> None:
    check_organisation(action.name, action.roles, action.key, action.node_keys, action.address)
    for _, other in state.rows(Organisation):
        if other.state != OrganisationState.REMOVED and other.name == action.name:
            raise TransactionRejected("NAME_IN_USE", action.name)
        if set(other.node_keys) & set(action.node_keys):
            raise TransactionRejected("KEY_IN_USE", f"a node of {other.name}")
    if state.index_get(Index.ORGANISATION_KEY, action.key) is not None:
        raise TransactionRejected("KEY_IN_USE")
    if state.index_get(Index.MEMBER_KEY, action.key) is not None:
        raise TransactionRejected("KEY_IN_USE", "a member's")
    row = Organisation(
        name=action.name,
        key=action.key,
        roles=action.roles,
        state=int(OrganisationState.ACTIVE),
        node_keys=action.node_keys,
        address=action.address,
    )
    add(state, row)


def _set_organisation(state: State, action: actions.SetOrganisation) -> None:
    row = state.need(Organisation, action.organisation, "UNKNOWN_ORGANISATION")
    if row.state == OrganisationState.REMOVED or action.state == row.state:
        raise TransactionRejected("NOTHING_TO_DECIDE", f"{row.name} is in state {row.state}")
    if action.state not in tuple(OrganisationState):
        raise TransactionRejected("BAD_FIELD", f"state {action.state}")
    state.put(action.organisation, replace(row, state=action.state))
    if action.state == OrganisationState.REMOVED:
        if any(seat.active and seat.organisation == action.organisation for _, seat in state.rows(Validator)):
            raise TransactionRejected("HOLDS_A_SEAT", row.name)
        state.index_delete(Index.ORGANISATION_KEY, row.key)
    if action.state != OrganisationState.ACTIVE:
        _check_roles_held(state, row.roles)


def _set_roles(state: State, action: actions.SetRoles) -> None:
    row = state.need(Organisation, action.organisation, "UNKNOWN_ORGANISATION")
    if row.state == OrganisationState.REMOVED or row.roles == action.roles:
        raise TransactionRejected("NOTHING_TO_DECIDE", row.name)
    check_organisation(row.name, action.roles, row.key, row.node_keys, row.address)
    votes = any(seat.active and seat.organisation == action.organisation for _, seat in state.rows(Validator))
    if votes and action.roles & Role.REGULATOR:
        raise TransactionRejected("HOLDS_A_SEAT", "a regulator observes and has no vote")
    state.put(action.organisation, replace(row, roles=action.roles))
    _check_roles_held(state, row.roles & ~action.roles)


def _replace_key(state: State, action: actions.ReplaceKey) -> None:
    organisation_keys.replace_key(state, action.organisation, action.key)


def check_organisation(name: str, roles: int, key: bytes, node_keys: tuple[bytes, ...], address: str) -> None:
    """By the rules of the genesis file, which knows no others."""
    if not 0 < roles <= _EVERY_ROLE:
        raise TransactionRejected("BAD_FIELD", f"roles {roles}")
    lines = organisation_lines(GenesisOrganisation(name, Role(roles), key, node_keys, address))
    try:
        read_organisation(TomlTable.parse("\n".join(lines).encode()))
    except OperatorError as error:
        raise TransactionRejected("BAD_FIELD", str(error)) from error


def _check_roles_held(state: State, lost: int) -> None:
    for role, least in _HOLDERS_MIN.items():
        holders = len(with_role(state, role))
        if lost & role and holders < least:
            raise TransactionRejected("ROLE_VACANT", f"{holders} would be {role.name}, at least {least} are needed")


# ---- plans ----------------------------------------------------------------------------------------------------------


def _open_plan(state: State, action: actions.OpenPlan) -> None:
    if not 0 < len(action.name.encode()) <= NAME_BYTES_MAX:
        raise TransactionRejected("BAD_FIELD", f"a name has 1 to {NAME_BYTES_MAX} bytes")
    if any(plan.name == action.name for _, plan in state.rows(Plan)):
        raise TransactionRejected("NAME_IN_USE", action.name)
    _check_params(action.params)
    plan_cycle.open_plan(state, action.name, action.params)


def _add_version(state: State, action: actions.AddPlanVersion) -> None:
    plans.need_open_plan(state, action.plan)
    _check_params(action.params)
    today, known = day_of(state.block.ledger_time_ms), plans.versions(state, action.plan)
    day = action.effective_day
    if not max(today + 1, known[-1][1].effective_day) <= day <= today + _EFFECTIVE_DAYS_MAX:
        raise TransactionRejected("NOT_EFFECTIVE_YET", f"day {day}, today {today}")
    present = plans.version_on(known, day)[1].params
    if action.params.year_cap_fen != present.year_cap_fen and civil_from_day(day)[1:] != (1, 1):
        raise TransactionRejected("YEAR_CAP_IN_YEAR", f"{action.params.year_cap_fen} fen from day {day}")
    _check_classes([version.params for _, version in known], action.params)
    plans.add_version(state, action.plan, day, action.params)


def _check_classes(earlier: list[PlanParams], params: PlanParams) -> None:
    used = {band.class_id: band.weight for version in earlier for band in version.classes}
    newest = {band.class_id for band in earlier[-1].classes}
    for band in params.classes:
        if used.get(band.class_id, band.weight) != band.weight or band.class_id in used.keys() - newest:
            raise TransactionRejected("CLASS_REUSED", f"class {band.class_id}")


def _check_params(params: PlanParams) -> None:
    """By the rules of a plan's file, and together."""
    text = "\n".join(('name = "plan"', "[params]", *plan_params_lines(params)))
    try:
        parse_plan(text)
    except OperatorError as error:
        raise TransactionRejected("BAD_FIELD", str(error)) from error
    faults = plans.param_faults(params)
    if faults:
        raise TransactionRejected("BAD_FIELD", faults[0])


def _run_off(state: State, action: actions.RunOffPlan) -> None:
    plans.need_plan(state, action.plan)
    run_off.begin(state, action.plan)


# ---- claims ---------------------------------------------------------------------------------------------------------


def _claw_back(state: State, action: actions.ClawBackClaim) -> None:
    remedies.begin(state, action.claim, action.decision)


def _write_off(state: State, action: actions.WriteOffClaim) -> None:
    remedies.give_up(state, action.claim, action.decision)


# ---- the protocol ---------------------------------------------------------------------------------------------------


def _activate_protocol(state: State, action: actions.ActivateProtocol) -> None:
    upgrades.activate(state, action.version, action.height)


# ---- validators -----------------------------------------------------------------------------------------------------


def _add_validator(state: State, action: actions.AddValidator) -> None:
    organisation = state.need(Organisation, action.organisation, "UNKNOWN_ORGANISATION")
    if organisation.state != OrganisationState.ACTIVE or not organisation.node_keys:
        raise TransactionRejected("BAD_FIELD", f"{organisation.name} is not active, or has no node")
    if organisation.roles & Role.REGULATOR:
        raise TransactionRejected("BAD_FIELD", "a regulator observes and has no vote")
    present = [row for _, row in state.rows(Validator) if row.active]
    if any(row.organisation == action.organisation for row in present):
        raise TransactionRejected("HOLDS_A_SEAT", organisation.name)
    if len(present) >= VALIDATORS_MAX:
        raise TransactionRejected("TOO_MANY_SEATS", f"{len(present)}")
    _check_change(len(present), len(present) + 1, action.forced)
    _check_keys(state, action.validator_key, action.beacon_key)
    state.append(
        Validator(
            organisation=action.organisation,
            validator_key=action.validator_key,
            beacon_key=action.beacon_key,
            active=True,
            fails=0,
            skipped_until=0,
            changed_height=0,
            previous_skipped_until=0,
        )
    )


def _remove_validator(state: State, action: actions.RemoveValidator) -> None:
    row = _seat(state, action.seat)
    present = sum(other.active for _, other in state.rows(Validator))
    if present == 1:
        raise TransactionRejected("TOO_FEW_SEATS", "nobody would be left")
    _check_change(present, present - 1, action.forced)
    state.put(action.seat, replace(row, active=False))


def _rotate_validator(state: State, action: actions.RotateValidator) -> None:
    row = _seat(state, action.seat)
    _check_keys(state, action.validator_key, action.beacon_key)
    state.put(action.seat, replace(row, validator_key=action.validator_key, beacon_key=action.beacon_key))


def _seat(state: State, seat: int) -> Validator:
    row = state.need(Validator, seat, "UNKNOWN_SEAT")
    if not row.active:
        raise TransactionRejected("UNKNOWN_SEAT", f"seat {seat} votes no more")
    return row


def _check_change(before: int, after: int, forced: bool) -> None:
    """One of ``before`` is fewer than a third, and four remain; unless forced."""
    if not forced and (before <= 3 or after < VALIDATORS_MIN):
        raise TransactionRejected("TOO_FEW_SEATS", f"{before} validators, {after} after it")


def _check_keys(state: State, validator_key: bytes, beacon_key: bytes) -> None:
    """Keys of a seat are points of the curve, and were never another seat's."""
    fresh = {validator_key, beacon_key}
    for key in fresh:
        if len(key) != PUBLIC_KEY_BYTES or not crypto_core_ed25519_is_valid_point(key):
            raise TransactionRejected("BAD_FIELD", "not an Ed25519 public key")
    used = {key for _, row in state.rows(Validator) for key in (row.validator_key, row.beacon_key)}
    if len(fresh) < 2 or fresh & used or any(state.index_get(Index.ORGANISATION_KEY, key) for key in fresh):
        raise TransactionRejected("KEY_IN_USE")


RULES: Final[dict[type[Any], Callable[[State, Any], None]]] = {
    actions.AdmitOrganisation: _admit,
    actions.SetOrganisation: _set_organisation,
    actions.SetRoles: _set_roles,
    actions.OpenPlan: _open_plan,
    actions.AddPlanVersion: _add_version,
    actions.RunOffPlan: _run_off,
    actions.AddValidator: _add_validator,
    actions.RemoveValidator: _remove_validator,
    actions.RotateValidator: _rotate_validator,
    actions.ReplaceKey: _replace_key,
    actions.ClawBackClaim: _claw_back,
    actions.WriteOffClaim: _write_off,
    actions.ActivateProtocol: _activate_protocol,
}
