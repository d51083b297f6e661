"""A validator whose keys are in a process of their own, with real processes that are killed (issue 6, §6).

The signer alone holds keys and record. Whichever of the two dies, nothing is signed twice, and both go on.
"""

import os
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest

from cli.processes import command
from node.keys import KeyKind, key_path
from tests.running import Ended, ended

from .load import Load
from .network import COMMIT_SECONDS, STOP_SECONDS, LiveNetwork, LiveNode, group_members, until
from .votes import Watch, promises

pytestmark = pytest.mark.e2e

MORE: Final = 20
READY_SECONDS: Final = 30.0
CATCH_UP_SECONDS: Final = 40.0
SIGNER_LOST: Final = 4
"""The exit code of a node whose signer does not answer."""
MOVED: Final = (
    *(key_path(Path("keys"), kind) for kind in (KeyKind.VALIDATOR, KeyKind.BEACON)),
    Path("data", "signing.log"),
)


class LiveSigner:
    """``huzhu signer``; a context that ends it."""

    def __init__(self, home: Path, socket: Path) -> None:
        self.home = home
        self.socket = socket
        self._log = home / "signer.out"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it says that it is ready."""
        said = self._ready_lines()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command(), "signer", "--home", str(self.home), "--socket", str(self.socket)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(lambda: self._ready_lines() > said, READY_SECONDS, f"the signer is ready:\n{self._log.read_text()}")

    def _ready_lines(self) -> int:
        return self._log.read_text().count("signer ready") if self._log.exists() else 0

    def end(self, number: signal.Signals) -> Ended:
        """Send a signal; the exit status."""
        if self._process is None:
            raise AssertionError("the signer was not started")
        os.kill(self._process.pid, number)
        status, leader = self._process.wait(STOP_SECONDS), self._process.pid
        self._process = None
        assert not group_members(leader)
        return ended(["signer"], status)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.end(signal.SIGKILL)


def split(node: LiveNode, place: Path) -> LiveSigner:
    """What docs/operate.md says: keys and record move, they are not copied; the configuration names the socket."""
    signer = LiveSigner(place / "signer", place / "signer.socket")
    for directory in (signer.home, signer.home / "keys", signer.home / "data"):
        directory.mkdir(mode=0o700)
    (signer.home / "config.toml").write_bytes((node.home / "config.toml").read_bytes())
    for path in MOVED:
        (node.home / path).rename(signer.home / path)
    node.settings = {"signer.socket": str(signer.socket)}
    return signer


def votes_are_needed_and_there(network: LiveNetwork, node: LiveNode) -> None:
    silent, seen_by = (network.nodes[name] for name in ("assessor-west", "platform"))
    network.await_vote_of(node, silent=silent, seen_by=seen_by, seconds=CATCH_UP_SECONDS)


def test_a_signer_and_its_node_are_killed_under_load_and_contradict_nothing(tmp_path: Path) -> None:
    with LiveNetwork(tmp_path / "net") as network:
        node = network.nodes["bank"]
        with split(node, tmp_path) as signer:
            watch = Watch("bank", signer.home / "data" / "signing.log")
            node.start()
            assert node.wait(READY_SECONDS) == SIGNER_LOST, "a node does not start without its signer"
            assert "SIGNER_LOST" in node.log_tail()
            signer.start()
            network.up()
            with Load(network) as load:
                load.await_more(MORE, COMMIT_SECONDS)
                votes_are_needed_and_there(network, node)

                assert signer.end(signal.SIGKILL) == -signal.SIGKILL
                assert node.wait(STOP_SECONDS) == SIGNER_LOST
                watch.look()
                load.await_more(MORE, COMMIT_SECONDS)
                signer.start()
                come_back(network, node, watch)

                node.kill()
                watch.look()
                load.await_more(MORE, COMMIT_SECONDS)
                come_back(network, node, watch)
                load.await_more(MORE, COMMIT_SECONDS)
            network.await_agreement()
            watch.look()
            assert not (node.home / "data" / "signing.log").exists(), "the node keeps no record of its own"
            node.stop()
            assert signer.end(signal.SIGTERM) == 0


def come_back(network: LiveNetwork, node: LiveNode, watch: Watch) -> None:
    """The node is started again; it votes, and its record only grows."""
    signed = len(list(promises(watch.path.read_bytes())))
    node.start()
    network.await_ready(node)
    node.await_signing(CATCH_UP_SECONDS)
    votes_are_needed_and_there(network, node)
    watch.look()
    assert len(list(promises(watch.path.read_bytes()))) > signed
