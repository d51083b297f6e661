"""Running a manifest: the network under load, one perturbation after the other, and what must hold after each.

After every step: so many more transactions are acknowledged within a bound (or, without a quorum, no second block is
decided); all that serve tell the same block at the lowest of their heads; no validator's log holds two messages for one
place; every acknowledged transaction is in the chain, at the height that was told, once. At the end everybody is well
again, and all heads and roots are equal.
"""

import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Final

from cli.links import Pair
from ledger.transactions import transaction_id

from .command import in_json
from .load import Load
from .manifest import Expectation, Manifest, Step
from .network import EndToEndError, LiveNetwork, LiveNode, until
from .small_disk import MIB, SmallDisk
from .votes import Watch

BEGIN_MS: Final = 1_539_619_200_000
STILL_S: Final = 6.0
"""How long a network without a quorum is watched, beside the step's own ``hold_s``."""
EXPECT_S: Final = 20.0


@dataclass
class Measured:
    """How long a step took, and what until the network went on."""

    step: str
    resumed_s: float
    total_s: float


@dataclass
class Scene:
    """A network that runs, and what was done to it."""

    manifest: Manifest
    network: LiveNetwork
    load: Load
    disks: dict[str, SmallDisk]
    watches: list[Watch]
    cut: set[Pair] = field(default_factory=set)
    measured: list[Measured] = field(default_factory=list)

    def nodes(self, step: Step) -> list[LiveNode]:
        """Those the step names, or every one."""
        names = step.nodes or tuple(self.network.nodes)
        return [self.network.nodes[name] for name in names]

    def pairs(self, step: Step) -> list[Pair]:
        """The directions the step names: between two, or of one and all others."""
        match step.nodes:
            case ():
                return sorted(self.cut)
            case (a,):
                found = [(a, b) for b in self.network.nodes if b != a]
            case (a, b):
                found = [(a, b)]
            case _:
                raise ValueError(f"{step}: name two nodes, or one")
        return found if step.one_way else [*found, *((b, a) for a, b in found)]


# ---- what may be done ------------------------------------------------------------------------------------------------


def _nothing(scene: Scene, step: Step) -> None:
    pass


def _kill(scene: Scene, step: Step) -> None:
    for node in scene.nodes(step):
        node.kill()


def _stop(scene: Scene, step: Step) -> None:
    for node in scene.nodes(step):
        node.signal(signal.SIGTERM)
        status = node.wait()
        assert status == 0, f"{node.name} ended with {status} on SIGTERM"


def _start(scene: Scene, step: Step) -> None:
    nodes = [node for node in scene.nodes(step) if not node.running]
    for node in nodes:
        node.start()
    if step.moving:
        scene.network.await_ready(*nodes)


def _restart(scene: Scene, step: Step) -> None:
    """All of them are dead before the first comes back."""
    _kill(scene, step)
    _start(scene, step)


def _pause(scene: Scene, step: Step) -> None:
    for node in scene.nodes(step):
        node.pause()


def _resume(scene: Scene, step: Step) -> None:
    for node in scene.nodes(step):
        node.resume()


def _cut(scene: Scene, step: Step) -> None:
    scene.cut |= set(scene.pairs(step))
    scene.network.cut(scene.pairs(step))


def _heal(scene: Scene, step: Step) -> None:
    pairs = scene.pairs(step)
    scene.network.heal(pairs)
    scene.cut -= set(pairs)


def _fill(scene: Scene, step: Step) -> None:
    for name in step.nodes:
        scene.disks[name].fill(step.leave_kib * 1_024)


def _empty(scene: Scene, step: Step) -> None:
    for name in step.nodes:
        scene.disks[name].empty()


ACTIONS: Final[dict[str, Callable[[Scene, Step], None]]] = {
    "nothing": _nothing,
    "kill": _kill,
    "stop": _stop,
    "start": _start,
    "restart": _restart,
    "pause": _pause,
    "resume": _resume,
    "cut": _cut,
    "heal": _heal,
    "fill": _fill,
    "empty": _empty,
}


# ---- what must hold --------------------------------------------------------------------------------------------------


def _asked(scene: Scene) -> list[LiveNode]:
    return [node for node in scene.network.nodes.values() if node.serving]


def _goes_on(scene: Scene, step: Step) -> float:
    """Enough is acknowledged in time; the seconds until the first one."""
    begun, load = time.monotonic(), scene.load
    first = len(load.committed) + 1
    until(lambda: len(load.committed) >= first, step.within_s, f"after {step}: anything is committed")
    resumed_s = time.monotonic() - begun
    goal = first - 1 + step.commit

    def enough() -> bool:
        return len(load.committed) >= goal and time.monotonic() - begun >= step.hold_s

    until(enough, step.within_s + step.hold_s, f"after {step}: {step.commit} more transactions are committed")
    return resumed_s


def _stands_still(scene: Scene, step: Step) -> None:
    """Without a quorum at most the block that was being decided comes; then nothing."""
    heights = {node.name: node.height for node in _asked(scene)}
    begun, held_s = time.monotonic(), max(step.hold_s, STILL_S)

    def passed() -> bool:
        for node in _asked(scene):
            assert node.height <= max(heights.values()) + 1, f"after {step}: {node.name} decided without a quorum"
        return time.monotonic() - begun >= held_s

    until(passed, held_s + 5, "the time is over")


def _same_blocks(scene: Scene) -> None:
    """Where all of them are, they have the same block; the block above names the same state."""
    asked = _asked(scene)
    height = min((node.height for node in asked), default=0)
    if height:
        found = [node.api.get(f"/v1/blocks/{height}") for node in asked]
        assert len({block["hash"] for block in found}) == 1, f"a fork at {height}: {found}"


def _once(scene: Scene) -> None:
    """Every acknowledged transaction stands in the chain at the height that was told, once."""
    told = dict(scene.load.committed)
    best = max(_asked(scene), key=lambda node: node.height)
    places: dict[str, int] = {}
    for height, block in enumerate(best.api.chain(), start=1):
        for raw in block.transactions:
            tx_id = transaction_id(raw).hex()
            assert tx_id not in places, f"{tx_id} stands at {places[tx_id]} and at {height}"
            places[tx_id] = height
    missing = {tx_id: height for tx_id, height in told.items() if places.get(tx_id) != height}
    assert not missing, f"acknowledged, but not there: {missing}"


@dataclass
class _Listener:
    """Asks a node until it says what it must; ``lacking`` is what it did not say the last time."""

    node: LiveNode
    wanted: Expectation
    lacking: str = "it did not answer"

    def satisfied(self) -> bool:
        try:
            status = self.node.status()
            reasons = " ".join(self.node.api.request("GET", "/readyz").json()["reasons"])
            page = self.node.api.request("GET", "/metrics").body.decode().splitlines()
        except (OSError, HTTPException) as error:
            self.lacking = repr(error)
            return False
        values = dict(line.rsplit(" ", 1) for line in page if not line.startswith("#"))
        log = self.node.log.read_text("utf-8", "replace")
        wanted = self.wanted
        lacking = [f"{key} is {status[key]!r}" for key, value in wanted.status.items() if status[key] != value]
        lacking += [
            f"{name} is {values[name]}"
            for name, value in wanted.metric.items()
            if not _near(float(values[name]), value)
        ]
        if wanted.ready is not None and (bool(reasons) if wanted.ready == "" else wanted.ready not in reasons):
            lacking.append(f"readyz says {reasons!r}")
        if wanted.log not in log:
            lacking.append(f"the log has no {wanted.log!r}")
        if not lacking and wanted.doctor and wanted.doctor not in _findings(self.node):
            lacking.append(f"doctor finds {_findings(self.node)}")
        self.lacking = "; ".join(lacking)
        return not lacking


def _says(scene: Scene, step: Step, wanted: Expectation) -> None:
    listener = _Listener(scene.network.nodes[wanted.node], wanted)
    try:
        until(listener.satisfied, EXPECT_S, f"after {step}: {wanted.node} says what it must")
    except EndToEndError as error:
        raise EndToEndError(f"{error}: {listener.lacking}\n{listener.node.log_tail()}") from error


def _near(found: float, wanted: float) -> bool:
    return abs(found - wanted) <= max(0.25 * abs(wanted), 1e-9)


def _findings(node: LiveNode) -> set[str]:
    ran = in_json("doctor", "--home", node.home, "--quick", prefix=node.prefix)
    return {finding["code"] for finding in ran.json["findings"]}


# ---- the run ---------------------------------------------------------------------------------------------------------


def perform(manifest: Manifest, directory: Path) -> list[Measured]:
    """Run the manifest. Raises ``AssertionError`` when something does not hold."""
    clock_ms = BEGIN_MS if manifest.clock == "stepped" else None
    with ExitStack() as stack:
        network = LiveNetwork(
            directory,
            validators=manifest.validators,
            observers=manifest.observers,
            clock_ms=clock_ms,
            proxied=True,
        )
        disks = {
            name: stack.enter_context(SmallDisk(network.nodes[name].home / "data", size * MIB))
            for name, size in manifest.disks_mib.items()
        }
        stack.enter_context(network)
        for name, node in network.nodes.items():
            node.settings = {**manifest.settings[""], **manifest.settings.get(name, {})}
            if name in disks:
                node.prefix = disks[name].prefix
        watches = [
            Watch(node.name, (disks[node.name].place if node.name in disks else node.home / "data") / "signing.log")
            for node in network.validators
        ]
        network.up(list(network.nodes))
        load = stack.enter_context(Load(network))
        scene = Scene(manifest, network, load, disks, watches)
        for step in manifest.steps:
            _take(scene, step)
        _end(scene)
    return scene.measured


def _take(scene: Scene, step: Step) -> None:
    begun = time.monotonic()
    ACTIONS[step.do](scene, step)
    resumed_s = 0.0
    if step.moving:
        resumed_s = _goes_on(scene, step)
    else:
        _stands_still(scene, step)
    for wanted in step.expect:
        _says(scene, step, wanted)
    _hold(scene)
    scene.measured.append(Measured(str(step), resumed_s, time.monotonic() - begun))


def _hold(scene: Scene) -> None:
    for watch in scene.watches:
        watch.look()
    _same_blocks(scene)
    _once(scene)


def _end(scene: Scene) -> None:
    """Everybody runs, nothing is cut: all catch up and agree."""
    if scene.cut:
        raise EndToEndError(f"{scene.manifest.name} leaves links cut")
    if not all(node.serving for node in scene.network.nodes.values()):
        raise EndToEndError(f"{scene.manifest.name} leaves nodes down")
    head = max(node.height for node in scene.network.nodes.values())
    scene.network.await_height(head, seconds=40)
    scene.load.stop()
    scene.network.await_agreement(seconds=40)
    _hold(scene)
