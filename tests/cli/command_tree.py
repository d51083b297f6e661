"""The leaves of the command tree."""

from collections.abc import Iterator
from typing import Final

import click

from cli.main import huzhu


def _leaves(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None, (*path, name)
        yield from _leaves(found, (*path, name))


LEAVES: Final = dict(_leaves(huzhu, ()))
"""Every command that can be run, by its words."""


def required(command: click.Command) -> list[click.Parameter]:
    """The parameters a command cannot do without."""
    return [parameter for parameter in command.params if parameter.required]


def leaf_of(words: list[str]) -> str | None:
    """The command that these arguments of the command line run."""
    heads = (" ".join(words[:length]) for length in range(1, 4))
    return next((head for head in heads if head in LEAVES), None)
