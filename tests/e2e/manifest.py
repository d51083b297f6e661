"""A network of real processes and what happens to it, read from a TOML file (``manifests/``).

Head: ``title`` (a sentence of the rule that is shown), ``deep`` (only in `make e2e-deep`), ``validators``,
``observers``, ``clock`` (real or stepped), ``[settings]`` of every node and ``[node.NAME.settings]`` of one, as
configuration keys, ``[node.NAME] disk_mib`` for a small disk of its own. Then ``[[step]]`` after ``[[step]]``:

| key | meaning |
|---|---|
| ``do`` | what is done: see ``perturb.ACTIONS`` |
| ``nodes`` | to which; for ``cut`` and ``heal`` two nodes, or one from all others |
| ``one_way`` | ``cut``: only what the first says to the second |
| ``leave_kib`` | ``fill``: how much stays free |
| ``moving`` | whether the network must go on afterwards (default), or stands still: a quorum is gone |
| ``commit`` | how many more transactions must be acknowledged before the next step |
| ``hold_s`` | at least so long, under load |
| ``within_s`` | the bound for both |
| ``expect`` | a list of what a node must say: ``node``, and any of the following |
| ``expect.status``, ``.metric`` | values by name; a metric within a quarter |
| ``expect.ready`` | words of a reason of ``/readyz``; empty: it is ready |
| ``expect.log``, ``.doctor`` | words of its log; the code of a finding |
"""

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

PLACE: Final = Path(__file__).with_name("manifests")


@dataclass(frozen=True)
class Expectation:
    """What a node must say of itself."""

    node: str
    status: dict[str, Any] = field(default_factory=dict)
    ready: str | None = None
    log: str = ""
    metric: dict[str, float] = field(default_factory=dict)
    doctor: str = ""


@dataclass(frozen=True)
class Step:
    """One thing that happens, and what must hold afterwards."""

    do: str
    nodes: tuple[str, ...] = ()
    one_way: bool = False
    leave_kib: int = 0
    moving: bool = True
    commit: int = 20
    hold_s: float = 0.0
    within_s: float = 25.0
    expect: tuple[Expectation, ...] = ()

    def __str__(self) -> str:
        return " ".join([self.do, *self.nodes, *(["(one way)"] if self.one_way else [])])


@dataclass(frozen=True)
class Manifest:
    """A network and what happens to it."""

    name: str
    title: str
    deep: bool
    validators: int
    observers: int
    clock: str
    settings: dict[str, dict[str, Any]]
    """Configuration keys by node; "" for every node."""
    disks_mib: dict[str, int]
    steps: tuple[Step, ...]


def read(path: Path) -> Manifest:
    """The manifest in ``path``. Raises ``ValueError`` for a key or a type that is not of the format."""
    raw = tomllib.loads(path.read_text())
    nodes = raw.pop("node", {})
    steps = tuple(_step(entry) for entry in raw.pop("step"))
    manifest = Manifest(
        name=path.stem,
        title=raw.pop("title"),
        deep=raw.pop("deep", False),
        validators=raw.pop("validators", 4),
        observers=raw.pop("observers", 0),
        clock=raw.pop("clock", "real"),
        settings={"": raw.pop("settings", {}), **{name: entry.get("settings", {}) for name, entry in nodes.items()}},
        disks_mib={name: entry["disk_mib"] for name, entry in nodes.items() if "disk_mib" in entry},
        steps=steps,
    )
    if raw or not steps or any(set(entry) - {"settings", "disk_mib"} for entry in nodes.values()):
        raise ValueError(f"{path.name}: unknown keys {sorted(raw)}, or no step")
    return manifest


def _step(entry: dict[str, Any]) -> Step:
    _known(Step, entry)
    expect = tuple(_expectation(item) for item in entry.pop("expect", ()))
    return Step(**{**entry, "nodes": tuple(entry.get("nodes", ()))}, expect=expect)


def _expectation(entry: dict[str, Any]) -> Expectation:
    _known(Expectation, entry)
    return Expectation(**entry)


def _known(kind: type[Any], entry: dict[str, Any]) -> None:
    unknown = set(entry) - {item.name for item in fields(kind)}
    if unknown:
        raise ValueError(f"a {kind.__name__.lower()} has no {sorted(unknown)}")


def manifests() -> list[Manifest]:
    """All of them, by name."""
    return [read(path) for path in sorted(PLACE.glob("*.toml"))]
