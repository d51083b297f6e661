"""``huzhu doctor``: is this home in order? Exit code 6 when the disk cannot be trusted (NODE §3).

While the node runs its own answers are asked for as well: clock, signing, peers.
"""

from pathlib import Path
from typing import Any, Final

import click

from ledger.errors import OperatorError
from node.config import Config, load
from node.doctor import Finding, Severity, examine, of_error

from .client import NodeClient, ask
from .init import home_option
from .output import Exit, console, output_option

CLOCK_MS: Final = 1_000
"""A clock that differs from the peers' median by more is told (DESIGN §4)."""
_EXITS: Final[dict[Severity, Exit]] = {
    Severity.INTEGRITY: Exit.INTEGRITY,
    Severity.ERROR: Exit.CONFIGURATION,
    Severity.WARNING: Exit.OK,
    Severity.NOTE: Exit.OK,
}


@click.command()
@home_option
@click.option("--quick", is_flag=True, help="Do not read every row and every entry of the indexes.")
@output_option
def doctor(home: Path, quick: bool) -> int:
    """Examine HOME: keys, disk, verifier, genesis, database, signing record, indexes, and a running node's peers.

    Exit code 6 when something on the disk cannot be trusted, 3 when the node would not start, else 0.
    """
    try:
        config = load(home)
    except OperatorError as error:
        findings = [of_error(error)]
    else:
        findings = examine(config, with_indexes=not quick)
        if any(finding.code == "NODE_RUNS" for finding in findings):
            findings += _running(config)
    data = {
        "healthy": not any(finding.severity in (Severity.ERROR, Severity.INTEGRITY) for finding in findings),
        "findings": [
            {
                "code": finding.code,
                "severity": finding.severity.value,
                "what": finding.what,
                "why": finding.why,
                "next": finding.next,
            }
            for finding in findings
        ],
    }
    console().result(data, "\n".join(map(_shown, findings)) or "nothing is wrong")
    worst = max((list(Severity).index(finding.severity) for finding in findings), default=0)
    return _EXITS[list(Severity)[worst]].value


def _shown(finding: Finding) -> str:
    lines = [f"{finding.severity.value} {finding.code}: {finding.what}"]
    lines += [f"  why:  {finding.why}"] if finding.why else []
    lines += [f"  next: {finding.next}"] if finding.next else []
    return "\n".join(lines)


def _running(config: Config) -> list[Finding]:
    """What the running node itself says."""

    async def status(client: NodeClient) -> dict[str, Any]:
        found: dict[str, Any] = await client.get("/v1/status")
        return found

    try:
        answer = ask(f"http://{config.api.listen}", status)
    except OperatorError as error:
        why = f"{error.code}: {error.what}"
        what = f"the node does not answer on {config.api.listen}"
        return [Finding("API_SILENT", Severity.WARNING, what, why, "read its log")]
    return status_findings(answer)


def status_findings(answer: dict[str, Any]) -> list[Finding]:
    """What ``/v1/status`` says that is not as it should be."""
    findings = []
    offset = answer["clock_offset_ms"]
    if offset is not None and abs(offset) > CLOCK_MS:
        why = "proposals more than 2 s ahead of a validator's clock, or 10 s behind it, are refused"
        what = f"the clock differs from the peers' by {offset:+.0f} ms"
        findings.append(Finding("CLOCK_OFF", Severity.WARNING, what, why, "run an NTP client, and look at the others"))
    if answer["role"] == "validator" and not answer["signing"]:
        why = str(answer["not_signing_because"] or "")
        findings.append(Finding("NOT_SIGNING", Severity.WARNING, "the validator does not sign", why, "read its log"))
    needed = (answer.get("protocol") or {}).get("upgrade_needed")
    if needed is not None:
        why = "at that height this node stops; it loses nothing"
        findings.append(Finding("UPGRADE_AHEAD", Severity.WARNING, needed, why, "install a release that speaks it"))
    if answer.get("reset_needed"):
        why = "it stays behind for ever; keys and signing record are not the trouble, and stay"
        what, following = f"reset needed: {answer['reset_needed']}", "stop it, `huzhu reset --yes`, start it"
        findings.append(Finding("RESET_NEEDED", Severity.WARNING, what, why, following))
    if not answer["peers_connected"]:
        what = "no peer is connected"
        findings.append(Finding("NO_PEERS", Severity.WARNING, what, "", "`huzhu peers list`, `huzhu peers why KEY`"))
    if answer["behind"] > 0:
        what = f"{answer['behind']} blocks behind the best known head"
        findings.append(Finding("BEHIND", Severity.NOTE, what, "", "it catches up by itself"))
    return findings
