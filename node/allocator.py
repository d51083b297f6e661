"""What the C library does with large blocks of memory that are given back (NODE §2: memory is bounded).

glibc hands a large block back to the system as long as it is larger than a threshold, and raises that threshold, up to
32 MB, whenever such a block is freed. A busy node frees some of 5 to 10 MB now and then: the table of a full dictionary
that makes itself anew. After that they come from the heap, between small objects that stay, and the heap grows by 2 %
a minute though nothing is held. A threshold that is set does not move.
"""

import ctypes
from typing import Final

LARGE_BYTES: Final = 1 << 20
"""Larger blocks are the system's own, and go back to it when freed. Bodies and batches of most blocks are smaller."""
_M_MMAP_THRESHOLD: Final = -3
"""Of glibc's <malloc.h>."""


def give_large_blocks_back() -> bool:
    """Fix glibc's threshold for this process; false where the C library is another one."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES) == 1
