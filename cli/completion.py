"""``huzhu completion``: the script that makes a shell complete commands and options."""

import click
from click.shell_completion import get_completion_class

from ledger.errors import OperatorError

from .output import output_option


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@output_option
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of SHELL; put `eval "$(huzhu completion bash)"` into your .bashrc."""
    kind = get_completion_class(shell)
    if kind is None:
        raise OperatorError("USAGE", f"no completion for {shell}", "", "bash, zsh or fish", exit_code=2)
    root = context.find_root().command
    click.echo(kind(root, {}, "huzhu", "_HUZHU_COMPLETE").source())
