"""What the blocks of a live network say, read by hand, for tests that compare it with what clients were told."""

from ledger.transactions import transaction_id

from .network import LiveNode


def places(node: LiveNode, last: int | None = None) -> dict[str, int]:
    """Height by id of every transaction up to block ``last``. Raises ``AssertionError`` when one is there twice."""
    found: dict[str, int] = {}
    for height, block in enumerate(node.api.chain(last), start=1):
        for raw in block.transactions:
            tx_id = transaction_id(raw).hex()
            assert tx_id not in found, f"{tx_id} stands at {found[tx_id]} and at {height}"
            found[tx_id] = height
    return found
