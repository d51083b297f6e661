"""A genesis: the values of its file, its chain id, its founders' signatures, and the state of height 0 (DESIGN §2).

``chain_id`` is the SHA-256 of the file's *exact* bytes: two founders are on the same chain when they hold the same
bytes. Founders sign the chain id; their signatures lie beside the file, in ``genesis.sigs``, one ``name hex`` a line.
Header 0 has no body and zero roots; header 1 certifies the genesis state.
"""

from dataclasses import dataclass
from hashlib import sha512
from typing import Final

from .blocks import Header, genesis_header
from .codec import digest
from .errors import OperatorError
from .genesis_file import (
    CLOCK_REAL,
    CLOCK_STEPPED,
    GenesisOrganisation,
    GenesisPlan,
    GenesisValidator,
    GenesisValues,
    parse_chain_params,
    parse_plan,
    read,
    write,
)
from .organisations import OrganisationState, add, validator_set
from .params import ChainParams
from .plan_cycle import open_plan
from .plans import param_faults
from .rows import Clock, Organisation, Validator
from .signing import SIGNATURE_BYTES, Domain, sign, signing_digest, verify
from .state import BlockContext, State
from .store import Batch, MemoryStore, Overlay
from .votes import ValidatorEntry

__all__ = [
    "CLOCK_REAL",
    "CLOCK_STEPPED",
    "SIGNATURES_FILE",
    "Genesis",
    "GenesisOrganisation",
    "GenesisPlan",
    "GenesisValidator",
    "GenesisValues",
    "check_genesis_signatures",
    "genesis_beacon",
    "genesis_signature_digest",
    "initial_batch",
    "parse_chain_params",
    "parse_genesis",
    "parse_plan",
    "render_genesis",
    "sign_genesis",
]

GENESIS_BYTES_MAX: Final = 1_048_576
SIGNATURES_FILE: Final = "genesis.sigs"
"""Name of the file with the founders' signatures, beside the genesis file."""
_BEACON_DOMAIN: Final = b"huzhu-beacon-0"


@dataclass(frozen=True, slots=True)
class Genesis:
    """A parsed genesis file. ``raw`` are its exact bytes, ``chain_id`` their SHA-256."""

    raw: bytes
    chain_id: bytes
    values: GenesisValues

    @property
    def name(self) -> str:
        """The chain's name."""
        return self.values.name

    @property
    def params(self) -> ChainParams:
        """The consensus parameters."""
        return self.values.params

    @property
    def time_ms(self) -> int:
        """Consensus time of height 0."""
        return self.values.time_ms

    @property
    def stepped(self) -> bool:
        """Whether ledger time can be advanced (test networks only)."""
        return self.values.clock == CLOCK_STEPPED

    @property
    def offset_ms(self) -> int:
        """Ledger time - consensus time at height 0."""
        return self.values.clock_start_ms - self.values.time_ms

    @property
    def organisations(self) -> tuple[GenesisOrganisation, ...]:
        """The founding organisations; ids are positions."""
        return self.values.organisations

    @property
    def plans(self) -> tuple[GenesisPlan, ...]:
        """The founding plans; ids are positions."""
        return self.values.plans

    def validators(self) -> tuple[ValidatorEntry, ...]:
        """V(0) = V(1) = V(2): the founders' seats, in the order of the file."""
        entries: list[ValidatorEntry] = []
        for organisation_id, organisation in enumerate(self.organisations):
            if organisation.validator is not None:
                validator = organisation.validator
                entries.append(
                    ValidatorEntry(
                        seat=len(entries),
                        organisation=organisation_id,
                        organisation_key=organisation.key,
                        validator_key=validator.validator_key,
                        beacon_key=validator.beacon_key,
                    )
                )
        return tuple(entries)


def parse_genesis(raw: bytes) -> Genesis:
    """Parse a genesis file. Raises ``OperatorError("GENESIS_INVALID")`` that names the key by its path."""
    if len(raw) > GENESIS_BYTES_MAX:
        raise OperatorError("GENESIS_INVALID", "file", f"{len(raw)} bytes, at most {GENESIS_BYTES_MAX}")
    values = read(raw)
    for at, plan in enumerate(values.plans):
        for fault in param_faults(plan.params):
            raise OperatorError("GENESIS_INVALID", f"plan[{at}].params", fault)
    return Genesis(raw, digest(raw), values)


def render_genesis(values: GenesisValues) -> str:
    """The text of a genesis file with these values; refuses values that ``parse_genesis`` would refuse."""
    text = write(values)
    read(text.encode())
    return text


# ---- founders' signatures ------------------------------------------------------------------------------------------


def genesis_signature_digest(chain_id: bytes) -> bytes:
    """The 32 bytes a founder signs with his organisation key."""
    return signing_digest(Domain.GENESIS, chain_id, 0, chain_id)


def sign_genesis(name: str, seed: bytes, chain_id: bytes) -> str:
    """A founder's line of ``genesis.sigs``."""
    return f"{name} {sign(seed, genesis_signature_digest(chain_id)).hex()}\n"


def check_genesis_signatures(genesis: Genesis, signatures_text: str) -> list[str]:
    """Names of the founding organisations that have not signed, in the order of the file.

    Raises ``OperatorError("GENESIS_SIGNATURE_INVALID")`` for a line that is malformed, of a stranger, repeated, or that
    does not verify: a wrong signature is worse than a missing one.
    """
    keys = {organisation.name: organisation.key for organisation in genesis.organisations}
    message = genesis_signature_digest(genesis.chain_id)
    signed: set[str] = set()
    for number, line in enumerate(signatures_text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, digits = line.rpartition(" ")
        fault = _signature_fault(keys.get(name), name in signed, digits, message)
        if fault is not None:
            what = f"genesis.sigs, line {number}"
            raise OperatorError("GENESIS_SIGNATURE_INVALID", what, fault, "ask that founder to sign this very file")
        signed.add(name)
    return [name for name in keys if name not in signed]


def _signature_fault(key: bytes | None, repeated: bool, digits: str, message: bytes) -> str | None:
    if key is None:
        return "not `name hex` of a founding organisation"
    if repeated:
        return "this organisation has signed before"
    if len(digits) != 2 * SIGNATURE_BYTES or digits.strip("0123456789abcdef"):
        return f"a signature has {2 * SIGNATURE_BYTES} hexadecimal digits"
    return None if verify(key, message, bytes.fromhex(digits)) else "the signature is not for this genesis file"


# ---- height 0 ------------------------------------------------------------------------------------------------------


def genesis_beacon(chain_id: bytes) -> bytes:
    """SHA-512("huzhu-beacon-0" ‖ chain_id): the beacon of height 0, 64 bytes."""
    return sha512(_BEACON_DOMAIN + chain_id).digest()


def initial_batch(genesis: Genesis) -> tuple[Batch, Header, bytes]:
    """(everything to write for height 0, header 0, the genesis state root that header 1 certifies)."""
    values, beacon = genesis.values, genesis_beacon(genesis.chain_id)
    overlay = Overlay(MemoryStore())
    block = BlockContext(
        chain_id=genesis.chain_id,
        height=0,
        time_ms=values.time_ms,
        ledger_time_ms=values.clock_start_ms,
        creator=bytes(32),
        beacon=beacon,
    )
    state = State(overlay, block)
    state.append(Clock(offset_ms=genesis.offset_ms, clock_key=values.clock_key))
    for organisation in values.organisations:
        add(state, _organisation_row(organisation))
    for entry in genesis.validators():
        state.append(_seat(entry))
    for plan in values.plans:
        open_plan(state, plan.name, plan.params)
    root = state.root()
    header = genesis_header(
        time_ms=values.time_ms, validators=validator_set(state), params_hash=values.params.hash(), beacon=beacon
    )
    return overlay.batch(), header, root


def _organisation_row(organisation: GenesisOrganisation) -> Organisation:
    return Organisation(
        name=organisation.name,
        key=organisation.key,
        roles=int(organisation.roles),
        state=OrganisationState.ACTIVE,
        node_keys=organisation.node_keys,
        address=organisation.address,
    )


def _seat(entry: ValidatorEntry) -> Validator:
    return Validator(
        organisation=entry.organisation,
        validator_key=entry.validator_key,
        beacon_key=entry.beacon_key,
        active=True,
        fails=0,
        skipped_until=0,
        changed_height=0,
        previous_skipped_until=0,
    )
