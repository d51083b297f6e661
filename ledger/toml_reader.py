"""Reading TOML strictly: every key is asked for by name, and a key nobody asked for is an error.

All faults are ``OperatorError("GENESIS_INVALID")`` and name the key by its path, as in ``organisation[2].key``.
"""

import tomllib
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, NoReturn

from .errors import OperatorError


def invalid(path: str, why: str, next_step: str = "") -> NoReturn:
    """Raise the error for the key at ``path``."""
    raise OperatorError("GENESIS_INVALID", path, why, next_step or f"correct `{path}` in the file")


class TomlTable:
    """One table of the document. Ask for every key, then call ``done``."""

    def __init__(self, values: dict[str, Any], path: str) -> None:
        self.path = path
        self._values = values
        self._asked: set[str] = set()

    @classmethod
    def parse(cls, raw: bytes) -> "TomlTable":
        """The document's root table."""
        try:
            return cls(tomllib.loads(raw.decode("utf-8")), "")
        except UnicodeDecodeError as error:
            invalid("file", f"not UTF-8 at byte {error.start}")
        except tomllib.TOMLDecodeError as error:
            invalid("file", f"not TOML: {error}")
        except RecursionError:
            invalid("file", "nested too deeply")

    def has(self, key: str) -> bool:
        """Whether an optional key is there."""
        self._asked.add(key)
        return key in self._values

    def at(self, key: str) -> str:
        """The path of ``key``."""
        return f"{self.path}.{key}" if self.path else key

    def text(self, key: str, *, bytes_max: int, empty: bool = False) -> str:
        """A string of at most ``bytes_max`` bytes of UTF-8, printable, without blanks around it."""
        value = self._value(key, str, "text")
        if not value and not empty:
            invalid(self.at(key), "is empty")
        if len(value.encode()) > bytes_max:
            invalid(self.at(key), f"has more than {bytes_max} bytes")
        if value != value.strip() or not value.isprintable():
            invalid(self.at(key), "has blanks around it or characters that cannot be printed")
        return str(value)

    def integer(self, key: str, low: int, high: int) -> int:
        """An integer from ``low`` to ``high``."""
        value = self._value(key, int, "an integer")
        if not low <= value <= high:
            invalid(self.at(key), f"is {value}, must be from {low} to {high}")
        return int(value)

    def hexadecimal(self, key: str, size: int) -> bytes:
        """``size`` bytes as lower-case hexadecimal digits."""
        return _bytes(self._value(key, str, "text"), size, self.at(key))

    def hexadecimals(self, key: str, size: int) -> tuple[bytes, ...]:
        """An array of such strings."""
        return tuple(_bytes(item, size, f"{self.at(key)}[{at}]") for at, item in self._items(key))

    def texts(self, key: str) -> tuple[tuple[str, str], ...]:
        """An array of strings, each with its path."""
        found = []
        for at, item in self._items(key):
            path = f"{self.at(key)}[{at}]"
            if not isinstance(item, str):
                invalid(path, "must be text")
            found.append((path, item))
        return tuple(found)

    def table(self, key: str) -> "TomlTable":
        """A table."""
        return TomlTable(self._value(key, dict, "a table"), self.at(key))

    def tables(self, key: str) -> Iterator["TomlTable"]:
        """An array of tables; may be absent."""
        if not self.has(key):
            return
        for at, item in self._items(key):
            if not isinstance(item, dict):
                invalid(f"{self.at(key)}[{at}]", "must be a table")
            yield TomlTable(item, f"{self.at(key)}[{at}]")

    def done(self) -> None:
        """Refuse keys that nobody asked for."""
        for key in self._values:
            if key not in self._asked:
                near = get_close_matches(key, self._asked - self._values.keys(), n=1)
                invalid(self.at(key), "is no known key", f"did you mean `{near[0]}`?" if near else "remove it")

    def _items(self, key: str) -> Iterator[tuple[int, Any]]:
        return enumerate(self._value(key, list, "an array"))

    def _value(self, key: str, kind: type[Any], name: str) -> Any:
        self._asked.add(key)
        if key not in self._values:
            invalid(self.at(key), "is missing", f"add `{key}`")
        value = self._values[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            invalid(self.at(key), f"must be {name}")
        return value


def _bytes(value: Any, size: int, path: str) -> bytes:
    if not isinstance(value, str) or len(value) != 2 * size or value.strip("0123456789abcdef"):
        invalid(path, f"must be {2 * size} lower-case hexadecimal digits")
    return bytes.fromhex(value)
