"""Commands that send one transaction, made from its body: each field of the body is an argument or option by its name.

``FIELDS`` is the table of fields; ``step`` makes the command. A field that is the hash of a paper takes the file itself
and says what it sent; what the sender needs later to open a commitment (its salt) stands in the result, nowhere else.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from inspect import cleandoc
from pathlib import Path
from typing import Any, Final

import click

from ledger.access import Purpose
from ledger.claim_table import REASONS
from ledger.disputes import DECLARED, Exclusion
from ledger.errors import OperatorError
from ledger.limits import SALT_BYTES
from ledger.signing import PUBLIC_KEY_BYTES
from node.keys import read_key

from .client import node_option
from .output import output_option
from .sender import Committed
from .signing import key_option, parse_hex, say_executed, send_one

HASH_BYTES: Final = 32
_NATURAL: Final = click.IntRange(min=0)
_FILE: Final = click.Path(path_type=Path, dir_okay=False)


@dataclass(frozen=True, slots=True)
class Field:
    """How a field of a body is asked for, and what its value is made of."""

    params: Sequence[click.Parameter]
    read: Callable[[dict[str, Any], dict[str, Any]], Any]
    """(values of the command's parameters, what the result will say besides) -> the field's value."""


def argument(name: str) -> Field:
    """An id that the command is about: a number in its place."""
    params = [click.Argument([f"{name}_id"], type=_NATURAL, metavar=name.upper())]
    return Field(params, lambda v, _: v[f"{name}_id"])


def number(name: str, about: str, *, least: int = 0) -> Field:
    """A required option that is a number."""
    flag = f"--{name.replace('_', '-')}"
    params = [click.Option([flag, name], type=click.IntRange(min=least), required=True, help=about)]
    return Field(params, lambda v, _: v[name])


def word(name: str, choices: Mapping[str, int], about: str) -> Field:
    """A required option that is one of some words."""
    kind = click.Choice(list(choices), case_sensitive=False)
    params = [click.Option([f"--{name}", name], type=kind, required=True, help=about)]
    return Field(params, lambda v, _: choices[v[name].lower()])


def text(name: str, about: str) -> Field:
    """A required option whose bytes are those of its text."""
    params = [click.Option([f"--{name}", name], required=True, help=about)]
    return Field(params, lambda v, _: v[name].encode())


def fixed(value: Any) -> Field:
    """Not asked for."""
    return Field((), lambda v, _: value)


def salt() -> Field:
    """Random; the result says it."""

    def read(_: dict[str, Any], said: dict[str, Any]) -> bytes:
        raw = secrets.token_bytes(SALT_BYTES)
        said["salt"] = raw.hex()
        return raw

    return Field((), read)


def paper(name: str, *, salted: bool) -> Field:
    """The hash of a paper: its file, or the 32 bytes themselves. A salted one is SHA-256(salt ‖ file)."""

    def read(values: dict[str, Any], said: dict[str, Any]) -> bytes:
        given, path = values[name], values["document"]
        if (given is None) == (path is None):
            raise click.UsageError(f"name either --document FILE or --{name} HEX")
        if given is not None:
            return parse_hex(given, f"--{name}", HASH_BYTES)
        raw = secrets.token_bytes(SALT_BYTES) if salted else b""
        found = sha256(raw + read_file(path)).digest()
        said[name] = found.hex()
        if salted:
            said["document_salt"] = raw.hex()
        return found

    of = "SHA-256 of a salt and this file; the result says the salt." if salted else "SHA-256 of this file."
    params = [
        click.Option(["--document"], type=_FILE, help=of),
        click.Option([f"--{name}", name], metavar="HEX", help="Or the 32 bytes themselves."),
    ]
    return Field(params, read)


def public_half(name: str, flag: str, about: str) -> Field:
    """A public key: of a key file (the secret half is not used), or in hexadecimal."""
    params = [click.Option([flag, name], required=True, metavar="FILE|HEX", help=about)]
    return Field(params, lambda v, _: public_key(v[name], flag))


def public_key(given: str, flag: str) -> bytes:
    """The key that ``given`` names: 64 hexadecimal digits, or a key file.

    Raises ``OperatorError`` or ``click.BadParameter``.
    """
    if len(given) == 2 * PUBLIC_KEY_BYTES and not Path(given).exists():
        return parse_hex(given, flag, PUBLIC_KEY_BYTES)
    return read_key(Path(given)).public


def read_file(path: Path) -> bytes:
    """A file's bytes. Raises ``OperatorError`` CANNOT_READ."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise OperatorError(
            "CANNOT_READ", str(path), str(error), "name a file that can be read", exit_code=2
        ) from error


_REASON: Final = f"Coded reason, 0 clears: {'; '.join(f'{code} {meaning}' for code, meaning in REASONS.items())}."
FIELDS: Final[dict[str, Field]] = {
    "claim": argument("claim"),
    "proposal": argument("proposal"),
    "plan": argument("plan"),
    "member": number("member", "Id of the member who acts, or for whom the platform does."),
    "reason": number("reason", _REASON),
    "commitment": paper("commitment", salted=True),
    "judgment": paper("judgment", salted=False),
    "amount_fen": number("amount_fen", "In fen.", least=1),
    "balance_fen": number("balance_fen", "In fen."),
    "period": number("period", "Number of the half-month."),
    "reference": text("reference", "The bank's reference, used once on the chain."),
    "purpose": word("purpose", {item.name.lower(): int(item) for item in Purpose}, "What the papers are wanted for."),
    "salt": salt(),
}
"""Fields of bodies by their names; ``step`` takes others where a body means something else by a name."""
EXCLUSIONS: Final = {Exclusion(item).name.lower(): int(item) for item in sorted(DECLARED)}


@dataclass(frozen=True, slots=True)
class Step:
    """One command: the body it sends, and the names of the numbers in its receipt."""

    verb: str
    body: type[Any]
    says: Sequence[str]
    about: str
    instead: Mapping[str, Field] = field(default_factory=dict)
    """Fields asked for in another way than ``FIELDS`` says."""


def add_steps(group: click.Group, steps: Sequence[Step]) -> None:
    """Make the commands of a table, and add them to a group."""
    for one in steps:
        group.add_command(command_of(one))


def command_of(one: Step) -> click.Command:
    """The command of a step."""
    fields = {name: one.instead.get(name) or FIELDS[name] for name in one.body.__struct_fields__}

    def send(key_path: Path, node: str, **values: Any) -> None:
        said: dict[str, Any] = {}
        body = one.body(**{name: known.read(values, said) for name, known in fields.items()})
        say(one.says, send_one(node, key_path, body), said)

    params = [param for known in fields.values() for param in known.params]
    # Options without an argument come after those that name what the command is about.
    params.sort(key=lambda param: isinstance(param, click.Option))
    made = click.Command(one.verb, callback=send, params=params, help=cleandoc(one.about))
    return output_option(node_option(key_option(made)))


def say(names: Sequence[str], done: Committed, more: Mapping[str, Any]) -> None:
    """The result of a step: the receipt's numbers by name (those beyond the names as ``detail``), and what else is."""
    named = dict(zip(names, done.detail, strict=False))
    beyond = {"detail": list(done.detail[len(names) :])} if len(done.detail) > len(names) else {}
    say_executed(done, **named, **beyond, **more)
