"""Networks of real ``huzhu start`` processes for the end-to-end tests: founded, started, hurt, and always ended.

Rules of this file

* A network is founded with the command line's own code and its nodes are started like an operator would; everything
  else is seen from outside: HTTP, signals, exit codes, log files.
* Whatever was started is killed by process id when the network is closed, with everything it started itself; closing
  checks that nothing is left.
* Real processes are the only thing these tests poll, in ``until`` alone, always with a deadline.
"""

import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from cli import network as nets
from cli import processes
from cli.links import Pair, change_links, start_proxy
from cli.network import Founder
from cli.processes import command
from cli.testnet import consortium, default_params, default_plan
from ledger.transactions import Enrol, sign_transaction
from node.keys import KeyPair, read_key
from tests.running import Ended, ended

from .api import Api

T = TypeVar("T")

VALIDATORS: Final = ("platform", "bank", "assessor-east", "assessor-west")
READY_SECONDS: Final = 30.0
"""From the start of a process until it answers that it is ready."""
STOP_SECONDS: Final = 10.0
"""From SIGTERM to the end of the process."""
COMMIT_SECONDS: Final = 20.0
"""A transaction is committed within this while a quorum runs, whatever has just been killed."""
POLL_SECONDS: Final = 0.05
LOG_LINES: Final = 25
VALID_MS: Final = 300_000


class EndToEndError(AssertionError):
    """The network did not do in time what the test waited for."""


def until(found: Callable[[], T | None], seconds: float, what: str) -> T:
    """What ``found`` returns as soon as it is true. Raises ``EndToEndError`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        value = found()
        if value:
            return value
        if time.monotonic() > deadline:
            raise EndToEndError(f"not within {seconds:.0f} s: {what}")
        time.sleep(POLL_SECONDS)


def group_members(leader: int) -> list[int]:
    """Processes of the group ``leader`` that still run; zombies do not."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it ended meanwhile
                continue
            if int(fields[2]) == leader and fields[0] not in "ZX":
                found.append(int(entry.name))
    return found


@dataclass
class LiveNode:
    """One node: its home, its addresses, and its process while it has one."""

    name: str
    home: Path
    api: Api
    p2p: tuple[str, int]
    observer: bool
    process: "subprocess.Popen[bytes] | None" = None
    paused: bool = False
    prefix: list[str] = field(default_factory=list)
    """What stands before the command: another mount namespace, a tracer."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Configuration keys that differ from the home's file."""
    groups: list[int] = field(default_factory=list)
    """Process groups of all processes this node ever had."""

    @property
    def log(self) -> Path:
        return self.home / "node.log"

    @property
    def pid(self) -> int:
        """Of the running process. Raises ``EndToEndError`` when there is none."""
        if self.process is None or self.process.poll() is not None:
            raise EndToEndError(f"{self.name} does not run")
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def serving(self) -> bool:
        """Whether a client may send to it."""
        return self.running and not self.paused

    # ---- life ----

    def start(self) -> None:
        """``huzhu start`` in the background, in a process group of its own."""
        if self.running:
            raise EndToEndError(f"{self.name} runs already")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, *command(), "start", "--home", str(self.home), *self._set()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.groups.append(self.process.pid)

    def _set(self) -> list[str]:
        return [word for key, value in self.settings.items() for word in ("--set", f"{key}={value}")]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the node's own process."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = STOP_SECONDS) -> Ended:
        """The exit status, negative for a signal, once the process has ended. Raises ``EndToEndError``."""
        if self.process is None:
            raise EndToEndError(f"{self.name} was never started")
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise EndToEndError(f"{self.name} still runs after {seconds:.0f} s") from error
        self.process, self.paused = None, False
        return ended(["start"], status)

    def kill(self) -> None:
        """SIGKILL to the node alone; what it had started must end by itself."""
        leader = self.pid
        self.signal(signal.SIGKILL)
        self.wait()
        until(partial(_gone, leader), 5, f"what {self.name} had started ends with it")

    def pause(self) -> None:
        """SIGSTOP: it keeps its sockets and says nothing."""
        self.signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)
        self.paused = False

    def close(self) -> None:
        """End every process this node ever had, whatever state it is in; check that nothing is left."""
        for leader in self.groups:
            for pid in group_members(leader):
                os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
            self.process = None
        for leader in self.groups:
            until(partial(_gone, leader), 5, f"nothing of {self.name} is left")

    # ---- asking ----

    def status(self) -> dict[str, Any]:
        """``/v1/status``."""
        answer: dict[str, Any] = self.api.get("/v1/status")
        return answer

    @property
    def height(self) -> int:
        """Of the newest block."""
        return int(self.status()["height"])

    @property
    def signing(self) -> bool:
        """Whether it answers, and says that it votes."""
        try:
            return bool(self.status()["signing"])
        except (OSError, HTTPException):
            return False

    def await_signing(self, seconds: float = READY_SECONDS) -> None:
        """Wait until it votes."""
        until(lambda: self.signing, seconds, f"{self.name} votes")

    def stop(self) -> None:
        """SIGTERM, and a clean end. Raises ``EndToEndError``."""
        self.signal(signal.SIGTERM)
        status = self.wait()
        if status != 0:
            raise EndToEndError(f"{self.name} ended with {status}")

    def report(self) -> str:
        """Where it is and the end of its log, for failure messages."""
        where = "not running"
        if self.serving:
            try:
                where = json.dumps({"pid": self.pid, **self.status()})
            except (OSError, HTTPException, AssertionError) as error:
                where = f"pid {self.pid} does not answer: {error!r}"
        elif self.running:
            where = f"pid {self.pid} is paused"
        return f"{where}\n{self.log_tail()}"

    def log_tail(self) -> str:
        """The end of its log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-LOG_LINES:])


class LiveNetwork:
    """A founded network. ``start`` what is needed; ``close`` ends everything."""

    alive: "list[LiveNetwork]" = []
    """Networks not closed yet: a failure report shows their logs."""

    def __init__(
        self,
        directory: Path,
        *,
        validators: int = 4,
        observers: int = 0,
        clock_ms: int | None = None,
        proxied: bool = False,
    ) -> None:
        """Founds it below ``directory``; no node is started. ``proxied``: its links can be cut (``cut``, ``heal``)."""
        founders: Sequence[Founder] = consortium(validators, observers)
        plans, params = [default_plan()], default_params()
        found = nets.found(directory, founders, plans, params, name="e2e", clock_start_ms=clock_ms, proxied=proxied)
        self.directory = directory
        self.chain_id = found.chain_id
        self.genesis = found.genesis_path
        self.nodes = {node.name: _live(node) for node in found.nodes}
        self.keys = {founder.name: read_key(found.key_file(founder.name)) for founder in founders}
        self.key_files = {founder.name: found.key_file(founder.name) for founder in founders}
        self.epoch = 0
        """For which transactions are signed; a test that begins another one says so."""
        self.ahead_ms = 0
        """How far the clocks of the nodes are ahead of ours, where a test sets ``node.clock_offset_ms`` of all."""
        self.alive.append(self)
        self._proxy = start_proxy(directory) if proxied else None

    # ---- life ----

    @property
    def validators(self) -> list[LiveNode]:
        return [node for node in self.nodes.values() if not node.observer]

    def up(self, names: Iterable[str] | None = None) -> Self:
        """Start those that do not run (default: the validators), wait until all of them are ready."""
        wanted = [self.nodes[name] for name in names] if names is not None else self.validators
        for node in wanted:
            if not node.running:
                node.start()
            elif node.paused:
                node.resume()
        self.await_ready(*wanted)
        return self

    def await_ready(self, *nodes: LiveNode, seconds: float = READY_SECONDS) -> None:
        """Wait until they answer that clients may come."""
        for node in nodes:
            until(partial(self._ready, node), seconds, f"{node.name} is ready")

    def _ready(self, node: LiveNode) -> bool:
        if not node.running:
            raise EndToEndError(f"{node.name} ended by itself:\n{node.log_tail()}")
        try:
            return node.api.request("GET", "/readyz", seconds=5).status == 200
        except (OSError, HTTPException):
            return False

    def close(self) -> None:
        """End every node. Idempotent."""
        for node in self.nodes.values():
            node.close()
        if self._proxy is not None:
            processes.end([self._proxy])
            self._proxy = None
        if self in self.alive:
            self.alive.remove(self)

    def cut(self, pairs: Sequence[Pair]) -> None:
        """From now on no byte passes from the first to the second of each pair, and nobody is told."""
        change_links(self.directory, cut=pairs)

    def heal(self, pairs: Sequence[Pair]) -> None:
        """What was cut passes again, from where it was."""
        change_links(self.directory, heal=pairs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:  # the report of a failure is written when nothing runs any more
            for node in self.nodes.values():
                if node.groups:
                    error.add_note(f"---- {node.name} ----\n{node.report()}")
        self.close()

    # ---- transactions ----

    def sign(
        self, body: Any, signer: str | KeyPair = "platform", *, valid_ms: int = VALID_MS, chain_id: bytes | None = None
    ) -> bytes:
        """A signed transaction, valid for ``valid_ms`` from now."""
        key = self.keys[signer] if isinstance(signer, str) else signer
        return sign_transaction(
            body,
            seed=key.secret,
            signer=key.public,
            valid_until_ms=time.time_ns() // 1_000_000 + self.ahead_ms + valid_ms,
            salt=secrets.token_bytes(16),
            chain_id=self.chain_id if chain_id is None else chain_id,
            epoch=self.epoch,
        )

    def enrolment(self, *, valid_ms: int = VALID_MS) -> bytes:
        """A transaction that is good."""
        return self.sign(Enrol(0, secrets.token_bytes(32), 1990 * 12, b""), valid_ms=valid_ms)

    def commit_one(self, node: LiveNode, seconds: float = COMMIT_SECONDS) -> dict[str, Any]:
        """An enrolment sent to ``node`` is executed within ``seconds``; the answer."""
        answer = node.api.submit(self.enrolment(), timeout=int(seconds), seconds=seconds + 5)
        found: dict[str, Any] = answer.json()
        if answer.status != 200 or found.get("code") != "OK":
            raise EndToEndError(f"{node.name} answered {answer.status} {found}")
        return found

    # ---- the chain ----

    def await_height(self, height: int, *nodes: LiveNode, seconds: float = COMMIT_SECONDS) -> None:
        """Wait until the nodes (default: all that serve) have committed ``height``."""
        for node in nodes or [node for node in self.nodes.values() if node.serving]:
            until(partial(_reached, node, height), seconds, f"{node.name} reaches height {height}")

    def await_agreement(self, *nodes: LiveNode, seconds: float = COMMIT_SECONDS) -> dict[str, Any]:
        """Wait until the nodes (default: all that serve) tell the same head and the same roots; that head."""
        asked = nodes or tuple(node for node in self.nodes.values() if node.serving)

        def agreed() -> dict[str, Any] | None:
            heads = [
                {key: node.status()[key] for key in ("height", "hash", "state_root", "receipts_root")} for node in asked
            ]
            return heads[0] if all(head == heads[0] for head in heads) else None

        return until(agreed, seconds, f"{', '.join(node.name for node in asked)} agree on the head")

    def await_vote_of(
        self, node: LiveNode, *, silent: LiveNode, seen_by: LiveNode, seconds: float = COMMIT_SECONDS
    ) -> None:
        """With ``silent`` paused three of four are left: nothing is decided without the vote of ``node``, and it is."""
        silent.pause()
        height = max(each.height for each in self.validators if each is not silent)
        self.await_height(height + 4, seen_by, node, seconds=seconds)
        silent_index, index = self.index(silent.name), self.index(node.name)
        for signers in map(seen_by.api.signers, range(height + 2, height + 5)):
            if index not in signers or silent_index in signers:
                raise EndToEndError(f"validators {sorted(signers)} signed while {silent.name} was silent")
        silent.resume()

    def index(self, name: str) -> int:
        """The validator's position in the set."""
        validators = next(node for node in self.nodes.values() if node.serving).api.get("/v1/validators")["validators"]
        return next(int(entry["index"]) for entry in validators if entry["name"] == name)


def _gone(leader: int) -> bool:
    return not group_members(leader)


def _reached(node: LiveNode, height: int) -> bool:
    return node.height >= height


def _live(node: nets.NetworkNode) -> LiveNode:
    host, _, port = node.p2p.rpartition(":")
    return LiveNode(node.name, node.home, Api(node.api), (host, int(port)), node.observer)
