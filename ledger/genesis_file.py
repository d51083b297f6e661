"""What a genesis file says, as values: read strictly, written exactly (DESIGN §2, LEDGER §2 and §3).

The tables ``CHAIN_BOUNDS`` and ``PLAN_BOUNDS`` hold every parameter's range. ``write`` makes a file that ``read`` reads
back to equal values; plan and chain parameters have the same form in files of their own (``configs/``).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nacl.bindings import crypto_core_ed25519_is_valid_point

from .limits import BLOCK_BODY_BYTES_MAX, BLOCK_BYTES_MIN, FEN_MAX, NAME_BYTES_MAX, VALIDATORS_MAX
from .params import ChainParams, ClassBand, PlanParams, TierBand
from .roles import Role
from .signing import PUBLIC_KEY_BYTES
from .toml_reader import TomlTable, invalid

TIME_MS_MAX: Final = 2**53
CLOCK_REAL: Final = "real"
CLOCK_STEPPED: Final = "stepped"

CHAIN_BOUNDS: Final[dict[str, tuple[int, int]]] = {
    "timeout_ms": (10, 60_000),
    "timeout_ms_max": (10, 600_000),
    "certify_wait_ms": (0, 10_000),
    "announce_bound_ms": (1, 60_000),
    "heartbeat_ms": (100, 86_400_000),
    "skip_blocks": (1, 10_000),
    "draw_blocks": (1, 100),
    "block_bytes_max": (BLOCK_BYTES_MIN, BLOCK_BODY_BYTES_MAX),
}

# Windows are a day or more, so no deadline makes an earlier one due (``deadlines.run``); claims are approved before the
# settlement, which comes 7 days after the notice (``plan_cycle``).
PLAN_BOUNDS: Final[dict[str, tuple[int, int]]] = {
    "fee_bps": (0, 10_000),
    "waiting_days": (0, 3_650),
    "joining_age_days_min": (0, 36_500),
    "joining_age_years_max": (0, 130),
    "notice_days": (1, 6),
    "pay_days": (1, 60),
    "case_cap_fen": (1, FEN_MAX),
    "year_cap_fen": (1, FEN_MAX),
    "lapse_fails": (1, 24),
    "reinstate_days": (0, 3_650),
    "file_days": (1, 3_650),
    "investigate_after_days": (0, 365),
    "investigate_days": (1, 365),
    "review_days": (1, 365),
    "expert_days": (1, 365),
    "appeal_days": (1, 365),
    "docs_times_max": (0, 100),
    "docs_days_max": (0, 3_650),
    "objectors_min": (1, 1_000_000),
    "jury_panel": (1, 1_000_000),
    "jury_quorum": (1, 1_000_000),
    "jury_exam_days": (0, 3_650),
    "jury_commit_hours": (1, 8_760),
    "jury_reveal_hours": (1, 8_760),
}
_AGE: Final = (0, 200)


@dataclass(frozen=True, slots=True)
class GenesisValidator:
    """The two public keys of a founding validator (DESIGN §3), 32 bytes each."""

    validator_key: bytes
    beacon_key: bytes


@dataclass(frozen=True, slots=True)
class GenesisOrganisation:
    """A founding organisation. ``node_keys`` are its X25519 link keys; ``address`` is host:port or empty."""

    name: str
    roles: Role
    key: bytes
    node_keys: tuple[bytes, ...] = ()
    address: str = ""
    validator: GenesisValidator | None = None


@dataclass(frozen=True, slots=True)
class GenesisPlan:
    """A founding plan with version 1 of its parameters."""

    name: str
    params: PlanParams


@dataclass(frozen=True, slots=True)
class GenesisValues:
    """Everything a genesis file says. Times are milliseconds since 1970, UTC."""

    name: str
    time_ms: int
    clock: str
    clock_key: bytes
    """Empty with a real clock."""
    clock_start_ms: int
    """Ledger time of height 0; equals ``time_ms`` with a real clock."""
    params: ChainParams
    organisations: tuple[GenesisOrganisation, ...]
    plans: tuple[GenesisPlan, ...]


# ---- reading -------------------------------------------------------------------------------------------------------


def read(raw: bytes) -> GenesisValues:
    """The values of a genesis file. Raises ``OperatorError`` naming the key by its path."""
    root = TomlTable.parse(raw)
    chain = root.table("chain")
    name, time_ms = chain.text("name", bytes_max=NAME_BYTES_MAX), chain.integer("time_ms", 1, TIME_MS_MAX)
    clock = chain.text("clock", bytes_max=16)
    clock_key, clock_start_ms = b"", time_ms
    if clock == CLOCK_STEPPED:
        clock_key = _public_key(chain, "clock_key")
        clock_start_ms = chain.integer("clock_start_ms", 1, TIME_MS_MAX)
    elif clock != CLOCK_REAL:
        invalid("chain.clock", f"is {clock!r}, must be {CLOCK_REAL!r} or {CLOCK_STEPPED!r}")
    else:
        for key in ("clock_key", "clock_start_ms"):
            if chain.has(key):
                invalid(f"chain.{key}", "belongs to a stepped clock; this chain's clock is real", "remove it")
    chain.done()
    params = _chain_params(root.table("consensus"))
    organisations = tuple(read_organisation(table) for table in root.tables("organisation"))
    plans = tuple(_plan(table) for table in root.tables("plan"))
    root.done()
    values = GenesisValues(name, time_ms, clock, clock_key, clock_start_ms, params, organisations, plans)
    _check_together(values)
    return values


def parse_plan(text: str) -> GenesisPlan:
    """A plan from a file of its own: ``name`` and ``[params]``."""
    return _plan(TomlTable.parse(text.encode()))


def parse_chain_params(text: str) -> ChainParams:
    """Chain parameters from a file of their own."""
    return _chain_params(TomlTable.parse(text.encode()))


def _chain_params(table: TomlTable) -> ChainParams:
    params = ChainParams(**{key: table.integer(key, low, high) for key, (low, high) in CHAIN_BOUNDS.items()})
    table.done()
    if params.timeout_ms_max < params.timeout_ms:
        invalid(table.at("timeout_ms_max"), "is below timeout_ms")
    return params


def read_organisation(table: TomlTable) -> GenesisOrganisation:
    """A founding organisation: an ``[[organisation]]`` of the genesis, or that of a founder's card."""
    name = table.text("name", bytes_max=NAME_BYTES_MAX)
    roles = Role(0)
    for path, word in table.texts("roles"):
        if word not in Role.__members__:
            invalid(path, f"{word!r} is no role", f"one of {', '.join(Role.__members__)}")
        roles |= Role[word]
    if not roles:
        invalid(table.at("roles"), "is empty")
    if Role.PLATFORM in roles and Role.ASSESSOR in roles:
        invalid(table.at("roles"), "the platform never approves claims: PLATFORM and ASSESSOR exclude each other")
    validator = None
    if table.has("validator"):
        part = table.table("validator")
        validator = GenesisValidator(_public_key(part, "validator_key"), _public_key(part, "beacon_key"))
        part.done()
        if Role.REGULATOR in roles:
            invalid(table.at("validator"), "a regulator observes and has no vote", "remove it")
    found = GenesisOrganisation(
        name=name,
        roles=roles,
        key=_public_key(table, "key"),
        node_keys=table.hexadecimals("node_keys", PUBLIC_KEY_BYTES),
        address=table.text("address", bytes_max=256, empty=True),
        validator=validator,
    )
    table.done()
    if found.address and not _is_address(found.address):
        invalid(table.at("address"), f"{found.address!r} is not host:port")
    if validator is not None and not found.node_keys:
        invalid(table.at("node_keys"), "is empty, but a validator needs a node")
    return found


def _plan(table: TomlTable) -> GenesisPlan:
    name, part = table.text("name", bytes_max=NAME_BYTES_MAX), table.table("params")
    tiers = tuple(
        _band(band, TierBand, {"tier": (1, 255), "age_from": _AGE, "aid_fen": (1, FEN_MAX)})
        for band in part.tables("tiers")
    )
    classes = tuple(
        _band(band, ClassBand, {"age_from": _AGE, "class_id": (0, 255), "weight": (1, 1_000)})
        for band in part.tables("classes")
    )
    numbers = {key: part.integer(key, low, high) for key, (low, high) in PLAN_BOUNDS.items()}
    part.done()
    table.done()
    if not tiers:
        invalid(part.at("tiers"), "is empty")
    places = [(band.tier, band.age_from) for band in tiers]
    if places != sorted(set(places)):
        invalid(part.at("tiers"), "must ascend by (tier, age_from), each once")
    ages = [band.age_from for band in classes]
    if not ages or ages[0] != 0 or ages != sorted(set(ages)):
        invalid(part.at("classes"), "must begin at age 0 and ascend by age_from")
    if len({band.class_id for band in classes}) != len(classes):
        invalid(part.at("classes"), "use a class id twice")
    if numbers["jury_quorum"] > numbers["jury_panel"]:
        invalid(part.at("jury_quorum"), "is above jury_panel")
    return GenesisPlan(name, PlanParams(tiers=tiers, classes=classes, **numbers))


def _band(table: TomlTable, kind: type[Any], bounds: dict[str, tuple[int, int]]) -> Any:
    band = kind(**{key: table.integer(key, low, high) for key, (low, high) in bounds.items()})
    table.done()
    return band


def _public_key(table: TomlTable, key: str) -> bytes:
    value = table.hexadecimal(key, PUBLIC_KEY_BYTES)
    if not crypto_core_ed25519_is_valid_point(value):
        invalid(table.at(key), "is not a valid Ed25519 public key")
    return value


def _is_address(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    return bool(host and colon) and port.isascii() and port.isdigit() and 0 < int(port) < 65_536


def _check_together(values: GenesisValues) -> None:
    """Names once, keys once in all their uses, 1 to ``VALIDATORS_MAX`` validators."""
    _check_once((f"organisation[{at}].name", item.name) for at, item in enumerate(values.organisations))
    _check_once((f"plan[{at}].name", item.name) for at, item in enumerate(values.plans))
    keys: list[tuple[str, bytes]] = [("chain.clock_key", values.clock_key)] if values.clock_key else []
    for at, item in enumerate(values.organisations):
        path = f"organisation[{at}]"
        keys.append((f"{path}.key", item.key))
        keys.extend((f"{path}.node_keys[{i}]", key) for i, key in enumerate(item.node_keys))
        if item.validator is not None:
            keys.append((f"{path}.validator.validator_key", item.validator.validator_key))
            keys.append((f"{path}.validator.beacon_key", item.validator.beacon_key))
    _check_once(keys)
    seats = sum(item.validator is not None for item in values.organisations)
    if not 1 <= seats <= VALIDATORS_MAX:
        invalid("organisation", f"{seats} of them have a validator, 1 to {VALIDATORS_MAX} are needed")


def _check_once(values: Iterable[tuple[str, Any]]) -> None:
    seen: dict[Any, str] = {}
    for path, value in values:
        if value in seen:
            invalid(path, f"is the same as {seen[value]}")
        seen[value] = path


# ---- writing -------------------------------------------------------------------------------------------------------


def write(values: GenesisValues) -> str:
    """A genesis file with these values."""
    lines = ["[chain]", f"name = {_quoted(values.name)}", f"time_ms = {values.time_ms}"]
    lines.append(f"clock = {_quoted(values.clock)}")
    if values.clock == CLOCK_STEPPED:
        lines += [f'clock_key = "{values.clock_key.hex()}"', f"clock_start_ms = {values.clock_start_ms}"]
    lines += ["", "[consensus]", *chain_params_lines(values.params)]
    for organisation in values.organisations:
        lines += ["", "[[organisation]]", *organisation_lines(organisation)]
    for plan in values.plans:
        lines += ["", "[[plan]]", f"name = {_quoted(plan.name)}", "", "[plan.params]", *plan_params_lines(plan.params)]
    return "\n".join(lines) + "\n"


def chain_params_lines(params: ChainParams) -> list[str]:
    """``key = value`` for each chain parameter."""
    return [f"{key} = {getattr(params, key)}" for key in CHAIN_BOUNDS]


def plan_params_lines(params: PlanParams) -> list[str]:
    """``key = value`` for each plan parameter, bands as inline tables."""
    lines = [f"{key} = {getattr(params, key)}" for key in PLAN_BOUNDS]
    for key, bands in (("tiers", params.tiers), ("classes", params.classes)):
        lines += [f"{key} = [", *(f"  {{ {_inline(band)} }}," for band in bands), "]"]
    return lines


def _inline(band: TierBand | ClassBand) -> str:
    return ", ".join(f"{key} = {getattr(band, key)}" for key in band.__struct_fields__)


def organisation_lines(organisation: GenesisOrganisation) -> list[str]:
    """``key = value`` of a founding organisation, and its ``[organisation.validator]``."""
    roles = ", ".join(_quoted(role.name) for role in Role if role in organisation.roles and role.name)
    lines = [f"name = {_quoted(organisation.name)}", f"roles = [{roles}]", f'key = "{organisation.key.hex()}"']
    lines.append(f"node_keys = {_hex_array(organisation.node_keys)}")
    lines.append(f"address = {_quoted(organisation.address)}")
    if organisation.validator is not None:
        lines += ["", "[organisation.validator]"]
        lines.append(f'validator_key = "{organisation.validator.validator_key.hex()}"')
        lines.append(f'beacon_key = "{organisation.validator.beacon_key.hex()}"')
    return lines


def _hex_array(keys: Sequence[bytes]) -> str:
    return "[" + ", ".join(f'"{key.hex()}"' for key in keys) + "]"


def _quoted(text: str) -> str:
    """A TOML basic string; names hold printable characters only."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
