"""What takes a block back: old values, and of pages and nodes only the bytes that the block replaced.

A block of contributions changes one row in each of ten thousand pages; whole old pages would double what it writes.

Rules of this file

* A splice is exact: the value after the block, its splices put back, is the value before it, byte for byte.
* The checksum is made anew, so a value that is damaged or lost is left as it is: never sealed, never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

from .pages import seal, spliced, unsealed
from .store import Batch, Overlay, Reader
from .table_writer import Tables


@dataclass(frozen=True, slots=True)
class Undo:
    """What takes one block back."""

    changes: dict[bytes, bytes | None]
    """Old values by key; ``None``: there was none."""
    splices: dict[bytes, bytes]
    """Sealed values (``store.SEALED``) and which of their bytes were others (``pages.splice``)."""

    def batch(self, after: Reader) -> Batch:
        """The batch that takes the block back; ``after`` is the state right after it."""
        batch = Batch(dict(self.changes))
        for key, splices in self.splices.items():
            raw = after.get(key)
            if raw is not None:
                batch.put(key, _before(key, raw, splices))
        return batch


def undo_of(overlay: Overlay, tables: Tables) -> Undo:
    """Of a block whose root was taken: what its changes have replaced."""
    splices, amended = tables.splices(), tables.amended()
    changes = overlay.undo({**splices, **amended}).changes
    changes.update(amended)
    return Undo(changes, splices)


def _before(key: bytes, raw: bytes, splices: bytes) -> bytes:
    body = unsealed(key, raw)
    return raw if body is None else seal(key, spliced(body, splices))
