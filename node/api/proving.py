"""Proofs of rows against the state that the newest header certifies (LEDGER §1).

A proof is read from the state after the block before the head, because header h + 1 certifies the result of h. It is
checked against the header's root before it is handed out: an answer that does not verify would be our bug.
"""

from __future__ import annotations

from typing import Any, Final

from ledger.codec import encode
from ledger.errors import InvariantViolation, TransactionRejected
from ledger.rows import Row
from ledger.tables import Table, TableReader

from .answers import plain
from .view import NodeView


def prove(view: NodeView, kind: type[Row], row_id: int) -> dict[str, Any]:
    """The row as certified, its ICS-23 proof, and header and certificate that vouch for the root.

    Raises ``TransactionRejected`` NOT_FOUND (it is not in the certified state), NOT_PROVABLE_YET.
    """
    current, certified = view.current, view.certified
    height = certified.height + 1
    header_raw, header = current.blocks.header_raw(height), current.blocks.header(height)
    certificate = current.blocks.certificate_raw(height)
    if header is None or header_raw is None or certificate is None:
        raise TransactionRejected("NOT_PROVABLE_YET", f"block {height} will certify the state after {height - 1}")
    row = certified.state.find(kind, row_id)
    if row is None:
        raise TransactionRejected("NOT_FOUND", f"not in the state that block {height} certifies")
    proof = TableReader(certified.state.reader).prove(kind.table, row_id)
    if proof.root() != header.state_root:
        raise InvariantViolation(f"the state after {height - 1} does not have the root that header {height} certifies")
    validators = current.blocks.validators(header.validators_hash)
    return {
        "table": kind.table.name.lower(),
        "row_id": row_id,
        "row": plain(row),
        "state_height": height - 1,
        "state_root": header.state_root.hex(),
        "key": proof.key.hex(),
        "value": proof.value.hex(),
        "proof": proof.encode().hex(),
        "header": header_raw.hex(),
        "certificate": certificate.hex(),
        "validators": encode(validators or ()).hex(),
        "chain_id": view.chain_id.hex(),
    }


PROVABLE: Final[tuple[Table, ...]] = (
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
