"""``python -m tests.reference.audit DIR``: recomputes everything the demo reports, from the exported blocks alone.

Reads ``genesis.toml``, ``blocks.msgpack``, ``report.json``, ``bills.json`` and ``accounts.json`` of DIR, walks the
blocks with the slow oracle (``mutual_aid``), and adds to the report:

* ``share_error_max``: the greatest difference in fen between a reported share and the recomputed one; 0 is demanded.
* ``bills_checked``, ``bills_equal``: sampled members, and how many of their bills equal the oracle's to the fen.
* ``accounts_balanced``: the journal's equation held at every block and every account equals the oracle's.

Exits 1 when anything differs, and says what.
"""

import json
import sys
from pathlib import Path
from typing import Any

from .blockfile import AuditError, read_genesis, walk
from .days_by_hand import settle_date
from .mutual_aid import MutualAid

BILLS_MIN = 200


def recompute(directory: Path) -> MutualAid:
    """The oracle after the last block. Raises ``AuditError`` for whatever is wrong with the blocks."""
    genesis = read_genesis(directory / "genesis.toml")
    oracle = MutualAid(genesis)
    try:
        for block in walk(directory / "blocks.msgpack", genesis):
            oracle.block(block)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise AuditError(f"the blocks do not have the documented shape: {error!r}") from error
    return oracle


def check_periods(oracle: MutualAid, report: dict[str, Any]) -> tuple[int, list[str]]:
    """The greatest share difference in fen, and a sentence for every figure of the table that differs."""
    found = {settle_date(result.period): result for result in oracle.results}
    faults: list[str] = []
    share_error_max = 0
    for row in report["periods"]:
        result = found.get(row["date"])
        if result is None:
            faults.append(f"{row['date']}: no such settlement in the blocks")
            continue
        share_error_max = max(share_error_max, abs(row["share_fen"] - result.share))
        mine = {"members": result.members, "cases": result.cases, "aid_fen": result.aid}
        mine |= {"fee_fen": result.fee, "carry_fen": result.carry, "share_fen": result.share}
        faults += [
            f"{row['date']}: {key} is {row[key]}, recomputed {mine[key]}" for key in mine if row[key] != mine[key]
        ]
    return share_error_max, faults


def check_bills(oracle: MutualAid, bills: list[dict[str, int]]) -> tuple[int, list[str]]:
    """How many bills agree, and a sentence for each that does not."""
    faults = [
        f"member {bill['member']}: billed {bill['billed_fen']}, recomputed {oracle.people[bill['member']].bill}"
        for bill in bills
        if oracle.people[bill["member"]].bill != bill["billed_fen"]
    ]
    return len(bills) - len(faults), faults


def check_accounts(oracle: MutualAid, accounts: dict[str, int]) -> list[str]:
    """A sentence for each account that is not the oracle's."""
    return [
        f"account {name}: {accounts.get(name)}, recomputed {amount}"
        for name, amount in oracle.accounts.items()
        if accounts.get(name) != amount
    ]


def audit(directory: Path) -> tuple[dict[str, Any], list[str]]:
    """The oracle's part of the report, and every fault it found (none: the run is right)."""
    report = json.loads((directory / "report.json").read_text())
    bills = json.loads((directory / "bills.json").read_text())
    accounts = json.loads((directory / "accounts.json").read_text())
    try:
        oracle = recompute(directory)
    except AuditError as error:
        return {"share_error_max": None, "bills_checked": 0, "bills_equal": 0, "accounts_balanced": False}, [str(error)]
    share_error_max, faults = check_periods(oracle, report)
    equal, bill_faults = check_bills(oracle, bills)
    account_faults = check_accounts(oracle, accounts)
    if len(bills) < min(BILLS_MIN, len(oracle.people)):
        faults.append(f"only {len(bills)} bills were sampled, at least {BILLS_MIN} are asked for")
    part = {
        "share_error_max": share_error_max,
        "bills_checked": len(bills),
        "bills_equal": equal,
        "accounts_balanced": not account_faults,
    }
    return part, faults + bill_faults + account_faults


def main(arguments: list[str]) -> int:
    """Audit the directory named by the only argument; returns the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m tests.reference.audit DIR\n")
        return 2
    directory = Path(arguments[0])
    part, faults = audit(directory)
    path = directory / "report.json"
    report = json.loads(path.read_text()) | part
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    sys.stdout.write("slow oracle: " + ", ".join(f"{key} {value}" for key, value in part.items()) + "\n")
    for fault in faults[:20]:
        sys.stdout.write(f"  differs: {fault}\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
