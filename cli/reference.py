"""``docs/reference/`` and ``docs/claims.md``, made from the program itself: ``make reference``; ``--check`` compares.

Every page comes from what the program runs on: the tree of commands, the table of configuration keys, the table of
routes, the metrics and the codes. Metrics and the codes of operators' errors are found in the source, where each stands
as a literal; so nothing has to be started, and the pages do not depend on the machine.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Final, cast

import click

from ledger import claim_diagram
from ledger.errors import BLOCK_CODES, CODES
from node.api.answers import STATUS
from node.api.feed import Feeds
from node.api.server import routes
from node.api.view import NodeView
from node.api.waiters import CommitWaiters
from node.config import KEYS, describe, render_default
from node.storage import SYMPTOMS
from p2p.reasons import REASONS

from .main import huzhu
from .output import Exit

ROOT: Final = Path(__file__).resolve().parents[1]
PAGES: Final = Path("docs/reference")
PACKAGES: Final = ("ledger", "consensus", "p2p", "node", "simulator", "cli")
METRICS: Final = {
    # constructor: (kind, ending of the exposed name)
    "Gauge": ("gauge", ""),
    "GaugeMetricFamily": ("gauge", ""),
    "Counter": ("counter", "_total"),
    "CounterMetricFamily": ("counter", "_total"),
    "Histogram": ("histogram", ""),
    "HistogramMetricFamily": ("histogram", ""),
}
EXIT_WORDS: Final[dict[Exit, str]] = {
    Exit.OK: "it was done",
    Exit.FAILURE: "it was not done",
    Exit.USAGE: "wrong arguments",
    Exit.CONFIGURATION: "configuration, keys or genesis are not in order",
    Exit.NOT_REACHABLE: "no node answers",
    Exit.NOT_READY: "the node is not ready, or a measurement was unstable",
    Exit.INTEGRITY: "something on the disk or in a proof cannot be trusted",
}
HEAD: Final = "<!-- Made by `make reference`; do not edit. -->\n"


def pages() -> dict[str, str]:
    """Every page by its path below the checkout."""
    texts = {
        "cli.md": _cli(),
        "config.md": _config(),
        "api.md": _api(),
        "metrics.md": _metrics(),
        "errors.md": _errors(),
    }
    found = {str(PAGES / name): f"{HEAD}{text.rstrip()}\n" for name, text in texts.items()}
    return found | {"configs/node.toml": _example(), "docs/claims.md": claim_diagram.page()}


def _table(headings: list[str], rows: list[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


# ---- commands --------------------------------------------------------------------------------------------------------


def _cli() -> str:
    codes = _table(["exit code", "meaning"], [[str(code.value), EXIT_WORDS[code]] for code in Exit])
    parts = [
        "# Commands\n",
        "Every command takes `--output text|json`. With json stdout is one object, an error is\n"
        '`{"error": {"code", "what", "why", "next"}}`; progress and hints go to stderr. `NO_COLOR` is obeyed.\n',
        codes,
    ]
    context = click.Context(huzhu, info_name="huzhu")
    parts += list(_commands(huzhu, context))
    return "\n".join(parts)


def _commands(command: click.Command, context: click.Context) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None:
                yield from _commands(found, click.Context(found, info_name=name, parent=context))
        return
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    options = [param for param in command.params if isinstance(param, click.Option)]
    usage = " ".join([context.command_path, *(_argument(param) for param in arguments)])
    yield f"## `{usage}`\n"
    yield cleandoc(command.help or "") + "\n"
    rows = [[_flags(option), _meaning(option)] for option in options if option.name != "output"]
    if rows:
        yield _table(["option", "meaning"], rows)


def _argument(param: click.Argument) -> str:
    name = param.metavar or (param.name or "").upper()
    if param.metavar is None and isinstance(param.type, click.Choice):
        name = f"{{{'|'.join(map(str, param.type.choices))}}}"
    return name if param.required else f"[{name}]"


def _flags(option: click.Option) -> str:
    names = "`, `".join([*option.opts, *option.secondary_opts])
    if option.is_flag:
        return f"`{names}`"
    if isinstance(option.type, click.Choice):
        return f"`{names} {'|'.join(map(str, option.type.choices))}`"
    return f"`{names} {option.metavar or option.type.name.upper()}`"


def _meaning(option: click.Option) -> str:
    words = [option.help or ""]
    if option.required:
        words.append("Required.")
    if option.multiple:
        words.append("May be repeated.")
    plain = isinstance(option.default, str | int | float | Path) and not isinstance(option.default, bool)
    if plain and option.default != "" and option.show_default:
        words.append(f"Default: `{option.default}`.")
    return " ".join(filter(None, words)) or "-"


# ---- configuration ---------------------------------------------------------------------------------------------------


def _config() -> str:
    return "\n".join(
        [
            "# Configuration\n",
            "`config.toml` in the node's home begins with `config_version = 1`. Precedence: flag (`--set KEY=VALUE`)\n"
            "> environment > file > default. An unknown key is an error. `configs/node.toml` is the commented file;\n"
            "`huzhu config check|show|diff` say what is in force.\n",
            describe(),
        ]
    )


def _example() -> str:
    """The commented configuration; the one default that depends on the machine is 1."""
    text = render_default()
    default = f"#workers = {KEYS['verifier.workers'].default}\n"
    return text.replace(default, "#workers = 1\n")


# ---- the API ---------------------------------------------------------------------------------------------------------


def _api() -> str:
    view, waiters = cast(NodeView, None), CommitWaiters(1)
    table = routes(view, waiters, Feeds(view, waiters))
    rows = [[f"`{route.method}`", f"`{route.path}`", " ".join(route.doc.split())] for route in table]
    statuses = [[f"`{code}`", str(status.value), CODES[code]] for code, status in STATUS.items()]
    return "\n".join(
        [
            "# HTTP API\n",
            "Reading is open; the API listens on loopback unless `api.listen` says otherwise. Bytes are hexadecimal,\n"
            "amounts integers of fen, times Unix milliseconds. `GET /` lists the routes as JSON.\n",
            _table(["method", "path", "answer"], rows),
            "## Refusals\n",
            "Every refusal is `application/problem+json` (RFC 9457) with a stable `code`. Statuses 429 and 503 carry\n"
            "`Retry-After`.\n",
            _table(["code", "status", "meaning"], statuses),
        ]
    )


# ---- metrics ---------------------------------------------------------------------------------------------------------


def _metrics() -> str:
    rows = []
    for call in _calls("node", set(METRICS)):
        name = _literal(call, 0)
        if name is None or not name.startswith("huzhu_"):
            continue
        kind, ending = METRICS[_name(call)]
        rows.append(
            [f"`{name.removesuffix(ending)}{ending}`", kind, ", ".join(_labels(call)) or "-", _literal(call, 1) or ""]
        )
    return "\n".join(
        [
            "# Metrics\n",
            "`GET /metrics`, in Prometheus' naming: base units, `_total` for counters. A histogram `x` is exposed as\n"
            "`x_bucket`, `x_sum` and `x_count`. Alert rules over them: `configs/alerts.yml`.\n",
            _table(["metric", "kind", "labels", "meaning"], sorted(rows)),
        ]
    )


def _labels(call: ast.Call) -> list[str]:
    found: ast.expr | None = next((word.value for word in call.keywords if word.arg in ("labels", "labelnames")), None)
    if found is None and len(call.args) > 2:
        found = call.args[2]
    if not isinstance(found, ast.List):
        return []
    return [str(item.value) for item in found.elts if isinstance(item, ast.Constant)]


# ---- errors ----------------------------------------------------------------------------------------------------------


def _errors() -> str:
    operators: defaultdict[str, dict[str, None]] = defaultdict(dict)
    exits: defaultdict[str, set[int]] = defaultdict(set)
    findings: dict[str, str] = {}
    for package in PACKAGES:
        for call in _calls(package, {"OperatorError", "Finding", "_broken"}):
            for code in _codes(call):
                if _name(call) == "OperatorError":
                    operators[code][_sentence(call, 1)] = None
                    exits[code].add(_exit_code(call))
                else:
                    findings.setdefault(code, _sentence(call, 2 if _name(call) == "Finding" else 1))
    for _, code, what, _, exit_code in SYMPTOMS:
        operators[code][what.replace("{path}", "…")] = None
        exits[code].add(exit_code)
    rows = [
        [f"`{code}`", ", ".join(map(str, sorted(exits[code]))), "<br>".join(filter(None, operators[code])) or "-"]
        for code in sorted(operators)
    ]
    reasons = [[f"`{code}`", meaning.text, "yes" if meaning.fault else "-"] for code, meaning in REASONS.items()]
    return "\n".join(
        [
            "# Codes\n",
            "Codes are stable. What to do about them: `docs/troubleshooting.md`, and the `next` of every error.\n",
            "## Errors of commands and of a node that does not start\n",
            "`…` stands for what varies.\n",
            _table(["code", "exit code", "what"], rows),
            "## Findings of `huzhu doctor`\n",
            "Besides the errors above.\n",
            _table(["code", "what"], [[f"`{code}`", text or "-"] for code, text in sorted(findings.items())]),
            "## Receipts and refusals of transactions\n",
            _table(["code", "meaning"], [[f"`{code}`", text] for code, text in CODES.items()]),
            "## Why a link is not there\n",
            "In `huzhu peers why`, the logs of both sides, and the link's last message. A breach bans for a while.\n",
            _table(["code", "meaning", "a breach"], reasons),
            "## Blocks that are refused\n",
            "In the logs; a peer that sends one is banned for a while.\n",
            _table(["code", "meaning"], [[f"`{code}`", text] for code, text in BLOCK_CODES.items()]),
        ]
    )


def _codes(call: ast.Call) -> list[str]:
    """The codes that the first argument can be: one literal, or one of two."""
    first = call.args[0] if call.args else None
    parts = [first.body, first.orelse] if isinstance(first, ast.IfExp) else [first]
    return [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def _exit_code(call: ast.Call) -> int:
    """Of an ``OperatorError``; 3 when it names none, as the class does."""
    value = next((word.value for word in call.keywords if word.arg == "exit_code"), None)
    if isinstance(value, ast.Constant) and isinstance(value.value, int):
        return value.value
    if isinstance(value, ast.Attribute) and isinstance(value.value, ast.Attribute):
        return Exit[value.value.attr].value
    if isinstance(value, ast.IfExp | ast.Name):
        return Exit.FAILURE.value
    return Exit.CONFIGURATION.value


def _sentence(call: ast.Call, at: int) -> str:
    """A literal argument with … for what varies; empty when it is all computed."""
    value = call.args[at] if len(call.args) > at else None
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    if isinstance(value, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in value.values)
    return ""


# ---- the source ------------------------------------------------------------------------------------------------------


def _calls(package: str, names: set[str]) -> Iterator[ast.Call]:
    """Calls of these names in a package, file by file, in the order of the lines."""
    for path in sorted((ROOT / package).rglob("*.py")):
        nodes = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        yield from sorted((node for node in nodes if _name(node) in names), key=lambda node: node.lineno)


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _literal(call: ast.Call, at: int) -> str | None:
    value = call.args[at] if len(call.args) > at else None
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None


# ---- files -----------------------------------------------------------------------------------------------------------


def stale(root: Path = ROOT) -> list[str]:
    """The pages below ``root`` that are not what the program would write now."""
    return [
        name
        for name, text in pages().items()
        if not (root / name).is_file() or (root / name).read_text("utf-8") != text
    ]


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; fail when a page is stale.")
def main(check: bool) -> None:
    """Write the reference into the checkout."""
    names = stale()
    if check:
        click.echo("\n".join(names) or "fresh")
        sys.exit(Exit.FAILURE.value if names else Exit.OK.value)
    found = pages()
    for name in names:
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_text(found[name], "utf-8")
    click.echo("\n".join(f"written: {name}" for name in names) or "nothing was stale")


if __name__ == "__main__":
    main()
