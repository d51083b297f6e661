"""The signature is asked for, and the message sent, while the disk still writes."""

from consensus import own
from consensus.effects import Persist
from consensus.records import Record
from consensus.state import Core

from .patch import Patch, without_scruples

RULE = "fsync, then send"


def plant(patch: Patch) -> None:
    """Break the rule."""
    ordinary = own.persist

    def persist(core: Core, records: list[Record]) -> None:
        ordinary(core, records)
        last = core.effects[-1]
        if isinstance(last, Persist):
            own.after_persisted(core, last.token)

    without_scruples(patch)
    patch.everywhere(ordinary, persist)
