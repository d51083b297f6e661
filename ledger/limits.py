"""Every limit of the formats, together and by name. Units come last in the names.

Each is tested at the limit and one past it. Limits that an operator may choose live in the node's configuration;
these are part of the protocol version and equal on every node.
"""

from typing import Final

TRANSACTION_VERSION: Final = 1

TRANSACTION_BYTES_MAX: Final = 1_048_576
"""Largest encoded transaction of a batch kind (enrolments, exits, collections)."""
SINGLE_TRANSACTION_BYTES_MAX: Final = 4_096
"""Largest encoded transaction of every other kind."""
BATCH_ITEMS_MAX: Final = 10_000
"""Most items (members, failures) one batch transaction may carry."""

BLOCK_BODY_BYTES_MAX: Final = 4_194_304
BLOCK_BYTES_MIN: Final = TRANSACTION_BYTES_MAX + 65_536
"""A chain's ``block_bytes_max`` is at least this: the largest transaction fits, with framing and certificate."""
BLOCK_TRANSACTIONS_MAX: Final = 10_000
BLOCK_DEADLINES_MAX: Final = 1_000
"""At most so many due deadlines are executed in one block (``D`` of LEDGER §5)."""
HEADER_BYTES_MAX: Final = 2_048
CERTIFICATE_BYTES_MAX: Final = 16_384
EVIDENCE_ITEMS_MAX: Final = 16
EVIDENCE_BYTES_MAX: Final = 1_024
"""Largest encoded piece of evidence: two votes with their signatures take about 300."""

VALIDATORS_MAX: Final = 128
RECOVERY_SIGNATURES_MAX: Final = 4 * VALIDATORS_MAX
"""Of a recovery record, all of which are verified before they are counted; q organisations with seats are enough."""
VALIDITY_WINDOW_MS: Final = 600_000
"""A transaction is valid while ``block.time <= valid_until <= block.time + VALIDITY_WINDOW_MS``."""
SALT_BYTES: Final = 16
REFERENCE_BYTES_MAX: Final = 64
NAME_BYTES_MAX: Final = 64

UINT64_MAX: Final = 2**64 - 1
FEN_MAX: Final = 2**53
"""No single amount may exceed this, so sums over 10^8 members stay far below 2^127 and JSON readers stay exact."""
