"""TLS by option: the API speaks it with the operator's certificate, and says what is wrong with an unusable one."""

import logging
import ssl
from pathlib import Path

import pytest
from aiohttp import ClientConnectorCertificateError, ClientSession, TCPConnector

from ledger.errors import OperatorError
from node.api.connections import Connections
from node.api.server import ApiServer, tls_context
from node.config import ApiSection, load
from tests.node.api_kit import FakeNode

FILES = Path(__file__).parent / "tls"


@pytest.fixture
def pems() -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key; made once, for these tests only."""
    return FILES / "certificate.pem", FILES / "key.pem"


@pytest.mark.asyncio
async def test_a_client_that_trusts_the_certificate_is_served_and_another_is_not(pems: tuple[Path, Path]) -> None:
    server = ApiServer(
        FakeNode().app(ApiSection()),
        "127.0.0.1:0",
        connections=Connections(100, print, tls=tls_context(*pems)),
        logger=logging.getLogger("test"),
    )
    host, port = await server.start()
    url = f"https://{host}:{port}/livez"
    try:
        trusting = TCPConnector(ssl=ssl.create_default_context(cafile=str(pems[0])))
        async with ClientSession(connector=trusting) as client, client.get(url) as answer:
            assert (await answer.json())["alive"] is True
        async with ClientSession() as stranger:
            with pytest.raises(ClientConnectorCertificateError):
                await stranger.get(url)
    finally:
        await server.stop()


@pytest.mark.parametrize("broken", ["missing", "swapped"])
def test_files_that_are_no_certificate_are_an_operators_error(
    tmp_path: Path, pems: tuple[Path, Path], broken: str
) -> None:
    certificate, key = pems
    files = (tmp_path / "none.pem", key) if broken == "missing" else (key, certificate)
    with pytest.raises(OperatorError) as caught:
        tls_context(*files)
    assert caught.value.code == "API_TLS"


def test_the_paths_are_below_the_home_and_absent_by_default(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("config_version = 1\n")
    assert load(tmp_path, environ={}).tls_paths is None
    chosen = {"api.tls_certificate": "tls/chain.pem", "api.tls_key": "tls/key.pem"}
    assert load(tmp_path, chosen, environ={}).tls_paths == (tmp_path / "tls/chain.pem", tmp_path / "tls/key.pem")
