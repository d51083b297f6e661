"""Data files of the package: plans, chain parameters, an example genesis, the illness catalogue, the half-months.

They are values, never code. Read them by name, as text; what they mean is up to their readers (``ledger.genesis``
parses plans, chain parameters and genesis files).
"""

from importlib.resources import files


def text(name: str) -> str:
    """The file ``name`` of this package, decoded as UTF-8. Raises ``FileNotFoundError``."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def names() -> list[str]:
    """The names of all data files, sorted."""
    return sorted(item.name for item in files(__name__).iterdir() if item.name.endswith((".toml", ".csv")))
