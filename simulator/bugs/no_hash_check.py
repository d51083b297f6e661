"""The block beside a proposal need not be the one whose hash was signed."""

from consensus.handle import proposal as handler
from ledger.blocks import header_hash

from .patch import Patch

RULE = "the header's hash is the proposed hash"


def plant(patch: Patch) -> None:
    """Break the rule."""

    class Anything(bytes):
        """Equal to every hash."""

        def __eq__(self, other: object) -> bool:
            return True

        def __ne__(self, other: object) -> bool:
            return False

        __hash__ = bytes.__hash__

    patch.replace(handler, "header_hash", lambda raw: Anything(header_hash(raw)))
