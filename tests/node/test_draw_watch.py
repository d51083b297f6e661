"""Rounds that fail while a draw is open are told to the log, with the draws (LEDGER §7)."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ledger import transactions as tx
from ledger.params import ACCIDENT
from ledger.rows import Draw
from node import draw_watch
from node.draw_watch import DrawWatch
from tests.ledger.chain import Chain
from tests.ledger.claim_kit import enrolled, filed
from tests.ledger.test_life import days
from tests.node.network import Network, running
from tests.node.test_network import step

TOLD = "rounds failed while draws were open: each may be a block withheld"


class Said:
    """A log that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def _say(self, event: str, **particulars: Any) -> None:
        self.lines.append((event, particulars))

    debug = info = warning = error = _say

    def told(self) -> list[dict[str, Any]]:
        return [particulars for event, particulars in self.lines if event == TOLD]


def watched(chain: Chain, said: Said, *, height: int, rounds: int) -> None:
    """The newest block of the chain, as if it had been decided in that round."""
    node: Any = SimpleNamespace(current=SimpleNamespace(state=chain.state))
    block: Any = SimpleNamespace(height=height, certificate=SimpleNamespace(round=rounds))
    DrawWatch(node, said).committed(block)


def test_failed_rounds_are_told_of_with_the_draws_that_were_open() -> None:
    chain, said = enrolled(), Said()
    filed(chain)
    watched(chain, said, height=chain.view.height, rounds=2)
    assert said.told() == [], "no draw is open"
    days(chain, 4)
    (draw,) = chain.state.rows(Draw)
    closed = draw[1].closed_height
    assert closed > draw[1].opened_height
    watched(chain, said, height=closed, rounds=0)
    assert said.told() == [], "no round failed"
    watched(chain, said, height=closed, rounds=2)
    assert said.told() == [{"height": closed, "rounds": 2, "draws": 1, "ids": (0,)}]
    watched(chain, said, height=closed + 1, rounds=2)
    assert len(said.told()) == 1, "the draw was closed"


def test_a_line_names_a_bounded_number_of_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.draws.mixed_in", lambda state, height: tuple(range(100)))
    said = Said()
    watched(enrolled(), said, height=1, rounds=1)
    (line,) = said.told()
    assert (line["draws"], line["ids"]) == (100, tuple(range(draw_watch.DRAWS_NAMED_MAX)))


@pytest.mark.asyncio
async def test_a_node_tells_of_a_proposer_that_is_missing_while_an_investigator_is_drawn(tmp_path: Path) -> None:
    said = Said()
    changes = {"timeout_ms": 50, "draw_blocks": 20, "skip_blocks": 1}
    network = Network(tmp_path, observers=0, changes=changes, options={"bank": {"log": said}})
    async with running(network) as up:
        await up.until(lambda node: node.driver.signing)
        await up.submit("bank", ("platform", tx.Enrol(0, bytes(32), 1990 * 12, b"")))
        await up.until_height(1)
        await step(up, "bank", 3)
        claim = tx.FileClaim(0, 1, 1, ACCIDENT, 17_822, 0, bytes(32), bytes(16))
        await up.submit("bank", ("platform", claim))
        await up.until(lambda node: node.chain.current.state.length(Draw) == 0 and len(node.mempool) == 0)
        await up.stop("firm-b")
        await step(up, "bank", 8)
        await up.until(lambda node: any(row.closed_height for _, row in node.chain.current.state.rows(Draw)))
        (draw,) = up.nodes["bank"].chain.current.state.rows(Draw)
    assert said.told()
    for line in said.told():
        assert draw[1].opened_height < line["height"] <= draw[1].closed_height
        assert line["rounds"] > 0
        assert line["ids"] == (0,)
