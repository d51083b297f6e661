"""Roots of a block: of the ids, made once however often they are asked for, and never another list's."""

from collections.abc import Sequence

import pytest

from ledger import blocks, merkle
from ledger.codec import digest

IDS = [digest(bytes((number,))) for number in range(7)]


def test_the_tree_of_the_same_ids_is_made_once_and_of_other_ids_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    root = merkle.root

    def counted(leaves: Sequence[bytes]) -> bytes:
        made.append(len(leaves))
        return root(leaves)

    monkeypatch.setattr(merkle, "root", counted)
    blocks._txs_root.cache_clear()
    assert blocks.txs_root(IDS) == blocks.txs_root([bytes(bytearray(tx_id)) for tx_id in IDS]) == root(IDS)
    assert made == [7]
    for others in (IDS[:-1], IDS[::-1], [*IDS[:-1], IDS[0]], []):
        assert blocks.txs_root(others) == root(others)
    assert made == [7, 6, 7, 7, 0]
