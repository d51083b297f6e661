"""``promtool check metrics`` on the page of a node that takes part in a running network."""

from pathlib import Path

import pytest

from tests.interop import tools
from tests.node.network import Network, running

pytestmark = pytest.mark.interop


@pytest.mark.asyncio
async def test_promtool_has_nothing_to_say_of_a_live_page(tmp_path: Path) -> None:
    network = Network(tmp_path, observers=0)
    async with running(network):
        await network.until(lambda node: node.driver.signing)
        pages = [node.window.render_metrics() for node in network.nodes.values()]
    for page in pages:
        assert b"huzhu_" in page
        assert tools.run([tools.promtool(), "check", "metrics"], cwd=tmp_path, given=page) == b""
