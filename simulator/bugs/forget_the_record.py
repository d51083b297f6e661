"""A restarted node begins with an empty record."""

from collections.abc import Iterable

from consensus.logstate import LogState
from consensus.records import FirstRecord, Record

from .patch import Patch

RULE = "after a restart the current round is the highest in the record"


def plant(patch: Patch) -> None:
    """Break the rule."""
    ordinary = LogState.__init__

    def init(self: LogState, records: Iterable[Record] = ()) -> None:
        ordinary(self, [record for record in records if isinstance(record, FirstRecord)])

    patch.replace(LogState, "__init__", init)
