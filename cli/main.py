"""The console script ``huzhu``: finds the command, runs it, turns what went wrong into an exit code.

Commands are imported when they are named, so ``huzhu --help`` does not pay for the node. The table below is the whole
command line; each file of this package holds one group of verbs.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import click

from ledger.errors import HuzhuError, InvariantViolation, OperatorError

from .output import JSON, Console, Exit

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    # name: (module:attribute, what it does)
    "init": ("cli.init:init", "Make a node's home: keys, configuration, signing record."),
    "keys": ("cli.keys:keys", "List the keys of a home, or make one."),
    "genesis": ("cli.genesis:genesis", "Found a chain: card, assemble, check, sign."),
    "join": ("cli.join:join", "Join a chain that exists: bundle, accept, status."),
    "start": ("cli.start:start", "Run the node of a home."),
    "signer": ("cli.signer:signer", "Hold a validator's keys and record in a process of their own."),
    "status": ("cli.status:status", "Where a node and its chain stand."),
    "peers": ("cli.peers:peers", "Links to other nodes, and why there is none."),
    "config": ("cli.config:config", "Check, show and migrate a node's configuration."),
    "doctor": ("cli.doctor:doctor", "Examine a node's home and say what is wrong."),
    "inspect": ("cli.inspect:inspect", "Look into a database or a block without knowing its types."),
    "export": ("cli.export:export", "Write blocks as JSON Lines."),
    "replay": ("cli.replay:replay_", "Execute a chain again and compare every root."),
    "snapshot": ("cli.snapshot:snapshot", "Snapshots in directories: create, list, verify."),
    "backup": ("cli.backup:backup", "Genesis, configuration and database of one moment, while the node runs."),
    "restore": ("cli.backup:restore", "Put a backup into a home."),
    "prune": ("cli.prune:prune", "Give up the content of old blocks, and say what it freed."),
    "debug": ("cli.debug:debug", "An archive for defect reports, without secrets."),
    "completion": ("cli.completion:completion", "The completion script of a shell."),
    "recover": ("cli.recover:recover", "Begin a new epoch after the quorum was lost, or go back by agreement."),
    "rollback": ("cli.rollback:rollback", "Undo the newest block of a stopped node, which fetches it again."),
    "reset": ("cli.reset:reset", "Remove a node's copy of the chain; keys and record stay."),
    "tx": ("cli.tx:tx", "Send, look up and await transactions."),
    "member": ("cli.member:member", "Members: enrol, show, statement, exit, what they pay."),
    "claim": ("cli.claim:claim", "File a claim, show claims, take the steps of their life."),
    "jury": ("cli.jury:jury", "Disputes, juries and a juror's ballot."),
    "gov": ("cli.gov:gov", "Proposals: what the organisations decide together."),
    "org": ("cli.org:org", "Organisations: list, apply, propose, approve, promote, suspend, remove."),
    "proof": ("cli.proof:proof", "Proofs of rows for public verifiers, and files that prove something."),
    "verify": ("cli.verify:verify", "What a file proves: offline, in plain sentences."),
    "plan": ("cli.plan:plan", "The plans of the chain: parameters, accounts, decisions, payments."),
    "testnet": ("cli.testnet:testnet", "Networks of real nodes on this machine."),
    "simulate": ("cli.simulate:simulate", "Whole networks from seeds, in virtual time, under every fault."),
    "bench": ("cli.bench.command:bench", "Measurements, as ratios to probes of the same run."),
    "demo": ("cli.demo.command:demo", "Five processes settle Xiang Hu Bao's half-months."),
}


DEPENDENCIES: Final = (
    "aiohttp",
    "click",
    "ed25519_zebra",
    "msgpack",
    "msgspec",
    "nacl",
    "plyvel",
    "prometheus_client",
    "rich",
    "structlog",
)
"""What the libraries of pyproject.toml are imported as."""


class Commands(click.Group):
    """A group that imports a command when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


def _version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from .version import versions

        click.echo("\n".join(f"{name} {value}" for name, value in versions().items()))
        context.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show version, commit, and the versions it speaks.",
)
def huzhu() -> None:
    """Huzhu: mutual aid on a chain kept by a consortium. Every member can recompute and prove his own share."""


def _usage(error: click.ClickException) -> OperatorError:
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f"see `{context.command_path} --help`" if context is not None else "see `huzhu --help`"
    code = Exit.USAGE if isinstance(error, click.UsageError) else Exit.FAILURE
    return OperatorError("USAGE", error.format_message(), "", hint, exit_code=code.value)


def _library(error: ImportError) -> OperatorError:
    """A library of ours is not there, or does not load. Any other import that fails is a bug, and raised again."""
    name = (error.name or "").partition(".")[0]
    if name not in DEPENDENCIES:
        raise error
    what = f"the library {name} cannot be loaded"
    return OperatorError("LIBRARY_MISSING", what, str(error), "install huzhu and the libraries of constraints.txt anew")


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether ``--output json`` stands in the arguments: they may be too wrong for click to tell."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    return any(pair == ("--output", JSON) or pair[0] == f"--output={JSON}" for pair in pairs)


def run(arguments: Sequence[str], **context: Any) -> int:
    """Run one command; returns the exit code."""
    console = Console()
    try:
        result = huzhu.main(list(arguments), prog_name="huzhu", standalone_mode=False, obj=console, **context)
    except click.ClickException as error:
        console.mode = JSON if _wants_json(arguments) else console.mode
        failure = _usage(error)
    except click.Abort:
        failure = OperatorError("INTERRUPTED", "interrupted", "", "", exit_code=Exit.FAILURE.value)
    except OperatorError as error:
        failure = error
    except ImportError as error:
        console.mode = JSON if _wants_json(arguments) else console.mode
        failure = _library(error)
    except InvariantViolation as error:
        why = "a bug: the program found itself in a state that its own rules exclude"
        failure = OperatorError(
            "INVARIANT", str(error), why, "keep the logs and report it", exit_code=Exit.INTEGRITY.value
        )
    except HuzhuError as error:
        failure = OperatorError(str(getattr(error, "code", "FAILED")), str(error), "", "", exit_code=Exit.FAILURE.value)
    else:
        return result if isinstance(result, int) else Exit.OK.value
    console.error(failure)
    return failure.exit_code


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
