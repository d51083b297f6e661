"""``huzhu signer``: keys and signing record of a validator in a process of their own."""

import asyncio
import signal
from pathlib import Path

import click

from node.config import Config, load
from node.logs import NodeLog
from node.signer.server import Signer

from .init import home_option
from .output import Exit, output_option


@click.command()
@home_option
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Unix socket to listen on; the node names it in signer.socket.",
)
@output_option
def signer(home: Path, path: Path) -> int:
    """Sign for one node, with the validator keys and the record in HOME; SIGTERM or Ctrl-C ends it.

    The node that uses it needs its node key only: set signer.socket in its configuration.
    """
    asyncio.run(_serve(load(home), path.absolute()))
    return Exit.OK.value


async def _serve(config: Config, path: Path) -> None:
    log = NodeLog(config.log, config.log_path, name=config.node.name or "signer")
    try:
        server = Signer(config, log.log)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        await server.serve(path, lambda: log.log.info("signer ready", socket=str(path)))
    finally:
        log.close()
