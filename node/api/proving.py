"""Proofs of rows against the state that the newest header certifies (LEDGER §1).

A proof is read from the state after the block before the head, because header h + 1 certifies the result of h. It is
checked against the header's root before it is handed out: an answer that does not verify would be our bug.
"""

from __future__ import annotations

from typing import Any, Final

from ledger.clock import CLOCK_ROW
from ledger.codec import decode_own, encode
from ledger.errors import InvariantViolation, TransactionRejected
from ledger.rows import Clock, Row, Upgrade
from ledger.tables import LENGTHS_ROW, Table, TableReader
from ledger.upgrades import UPGRADE_ROW

from .answers import plain
from .view import NodeView, StateAt

PROVABLE: Final[tuple[Table, ...]] = (
    Table.META,
    Table.PLANS,
    Table.PLAN_VERSIONS,
    Table.ORGANISATIONS,
    Table.VALIDATORS,
    Table.MEMBERS,
    Table.SPANS,
    Table.COHORTS,
    Table.FROZEN,
    Table.ACCOUNTS,
    Table.SETTLEMENTS,
    Table.COLLECTIONS,
    Table.DRAWS,
)
"""Tables whose rows anybody may have proven; claims and what belongs to them are their claimants' (LEDGER §6)."""


_META: Final[dict[int, type[Row]]] = {CLOCK_ROW: Clock, UPGRADE_ROW: Upgrade}
"""The rows of ``meta`` are of several types."""


def certified(view: NodeView) -> tuple[StateAt, bytes, bytes]:
    """(the newest certified state, the raw header that certifies it, its root). Raises NOT_PROVABLE_YET.

    Both states are read at one moment, so that a block that is committed meanwhile changes nothing.
    """
    current, at = view.current, view.certified
    header_raw, header = current.blocks.header_raw(at.height + 1), current.blocks.header(at.height + 1)
    if header is None or header_raw is None:
        raise TransactionRejected("NOT_PROVABLE_YET", f"block {at.height + 1} will certify the state after {at.height}")
    root = TableReader(at.state.reader).root()
    if root != header.state_root:
        raise InvariantViolation(
            f"the state after {at.height} does not have the root that header {at.height + 1} certifies"
        )
    return at, header_raw, root


def prove(view: NodeView, kind: type[Row], row_id: int) -> dict[str, Any]:
    """The row as certified, its ICS-23 proof, and header and certificate that vouch for the root.

    Raises ``TransactionRejected`` NOT_FOUND (it is not in the certified state), NOT_PROVABLE_YET.
    """
    current = view.current
    at, header_raw, root = certified(view)
    height = at.height + 1
    header, certificate = current.blocks.header(height), current.blocks.certificate_raw(height)
    if header is None or certificate is None:
        raise InvariantViolation(f"block {height} has a header and no certificate")
    tables = TableReader(at.state.reader)
    if row_id >= tables.length(kind.table):
        raise TransactionRejected("NOT_FOUND", f"not in the state that block {height} certifies")
    proof = tables.prove(kind.table, row_id)
    validators = current.blocks.validators(header.validators_hash)
    return {
        "table": kind.table.name.lower(),
        "row_id": row_id,
        "row": _shown(kind, row_id, proof.value),
        "state_height": at.height,
        "state_root": root.hex(),
        "key": proof.key.hex(),
        "value": proof.value.hex(),
        "proof": proof.encode().hex(),
        "header": header_raw.hex(),
        "certificate": certificate.hex(),
        "validators": encode(validators or ()).hex(),
        "chain_id": view.chain_id.hex(),
    }


def _shown(kind: type[Row], row_id: int, value: bytes) -> Any:
    if (kind.table, row_id) == (Table.META, LENGTHS_ROW):
        lengths = decode_own(list[int], value)
        return {table.name.lower(): lengths[table - 1] for table in Table if table <= len(lengths)}
    return plain(decode_own(_META.get(row_id, kind) if kind.table is Table.META else kind, value))
