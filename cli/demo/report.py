"""What the demo leaves behind: ``report.json`` and the files that the slow oracle recomputes it from.

The keys are a contract with ``tests/reference/audit.py``, which adds ``share_error_max``, ``bills_checked``,
``bills_equal`` and ``accounts_balanced``.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..output import table
from .ledger import Settled
from .script import Step

PUBLISHED_ERROR_MAX: Final = 0.02
REPORT_FILE: Final = "report.json"
BLOCKS_FILE: Final = "blocks.msgpack"
BILLS_FILE: Final = "bills.json"
ACCOUNTS_FILE: Final = "accounts.json"
GENESIS_FILE: Final = "genesis.toml"


@dataclass(frozen=True, slots=True)
class Agreement:
    """Where one node stands: its head, and the state root after it."""

    node: str
    height: int
    state_root: str


@dataclass(frozen=True, slots=True)
class Totals:
    """What the exported blocks hold."""

    blocks: int
    transactions: int
    rounds_above_zero: int


def period_entry(step: Step, settled: Settled) -> dict[str, Any]:
    """One line of the report's table. ``carry_fen`` is CARRY after the settlement; amounts are fen."""
    return {
        "date": step.settle_date,
        "members": settled.members,
        "cases": settled.claims,
        "aid_fen": settled.aid_fen,
        "fee_fen": settled.fee_fen,
        "carry_fen": settled.carry_fen,
        "share_fen": settled.share_fen,
        "published_fen": step.published_fen,
    }


def published_error_max(periods: Sequence[dict[str, Any]]) -> float | None:
    """The greatest relative error of a share that was published; ``None`` when none of the rows was."""
    errors = [
        abs(period["share_fen"] - period["published_fen"]) / period["published_fen"]
        for period in periods
        if period["published_fen"] is not None
    ]
    return round(max(errors), 6) if errors else None


def nodes_agree(nodes: Sequence[Agreement], expected: int) -> bool:
    """Whether so many nodes have one height and one state root."""
    return len(nodes) == expected and len({(node.height, node.state_root) for node in nodes}) == 1


def faults(report: dict[str, Any], bill_differences: Sequence[str]) -> list[str]:
    """A sentence for everything in which the run is not what it must be."""
    found = list(bill_differences)
    error = report["published_error_max"]
    if error is not None and error > PUBLISHED_ERROR_MAX:
        found.append(
            f"a share differs from the published one by {error:.2%}, at most {PUBLISHED_ERROR_MAX:.0%} is allowed"
        )
    if not report["nodes_agree"]:
        found.append("the nodes do not agree on height and state root")
    return found


def write_json(path: Path, value: Any) -> None:
    """Write one of the files."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def text(report: dict[str, Any]) -> str:
    """The report for people."""
    headings = ("date", "members", "cases", "aid fen", "fee fen", "carry fen", "share fen", "published")
    rows = [[period[key] if period[key] is not None else "" for key in list(period)] for period in report["periods"]]
    error = report["published_error_max"]
    return "\n".join(
        [
            table(headings, rows),
            "",
            f"published shares met within {error:.2%}" if error is not None else "no published share in these rows",
            f"nodes agree: {'yes' if report['nodes_agree'] else 'NO'}",
            f"{report['blocks']:,} blocks, {report['transactions']:,} transactions, "
            f"{report['rounds_above_zero']} blocks in a round above 0, {report['restarts']} restart(s), "
            f"{report['seconds']:.1f} s",
        ]
    )
