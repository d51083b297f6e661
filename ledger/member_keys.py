"""Members' own keys: which one acts, rotation by its owner, recovery by the platform (LEDGER §2, §4).

Rules of this file
- The newest row of a member whose time has come is his key; every key belongs to one member for ever.
- The owner rotates at once. The platform replaces a lost key after ``RECOVERY_DAYS``; until then the old key acts, and
  whatever its owner signs to rotate (to the same key, if he likes) puts the recovery aside.
- A custodial member gets his first key the same way, so nobody is handed to a key overnight.
"""

from typing import Final

from .calendar import MS_PER_DAY
from .errors import TransactionRejected
from .rows import Member, MemberKey
from .signing import PUBLIC_KEY_BYTES
from .state import Index, State, StateReader, u64
from .transactions import RotateMemberKey

RECOVERY_DAYS: Final = 14
ROW_ID_BYTES: Final = 8


def keys(state: StateReader, member_id: int) -> list[MemberKey]:
    """All key rows of a member, the oldest first."""
    packed = state.index_get(Index.MEMBER_KEY_ROWS, u64(member_id)) or b""
    ids = range(0, len(packed), ROW_ID_BYTES)
    return [state.get(MemberKey, int.from_bytes(packed[at : at + ROW_ID_BYTES], "big")) for at in ids]


def key_of(state: StateReader, member_id: int, ledger_time_ms: int) -> bytes | None:
    """The key that acts for a member at a ledger time; ``None`` for a custodial one."""
    return next((row.key for row in reversed(keys(state, member_id)) if row.since_ms <= ledger_time_ms), None)


def owner_of(state: StateReader, key: bytes, ledger_time_ms: int) -> int | None:
    """The member for whom ``key`` acts at a ledger time."""
    member_id = state.index_id(Index.MEMBER_KEY, key)
    if member_id is None or key_of(state, member_id, ledger_time_ms) != key:
        return None
    return member_id


def check_free(state: StateReader, key: bytes) -> None:
    """Refuse a key that cannot be a new one. Raises ``TransactionRejected``: BAD_FIELD, KEY_IN_USE."""
    if len(key) != PUBLIC_KEY_BYTES:
        raise TransactionRejected("BAD_FIELD", f"a key has {PUBLIC_KEY_BYTES} bytes")
    if state.index_get(Index.MEMBER_KEY, key) is not None or state.index_get(Index.ORGANISATION_KEY, key) is not None:
        raise TransactionRejected("KEY_IN_USE")


def register(state: State, member_id: int, key: bytes, since_ms: int = 0) -> None:
    """``key`` acts for the member from ``since_ms`` on."""
    row_id = state.append(MemberKey(member_id, key, since_ms))
    packed = state.index_get(Index.MEMBER_KEY_ROWS, u64(member_id)) or b""
    state.index_put(Index.MEMBER_KEY_ROWS, u64(member_id), packed + u64(row_id))
    state.index_put(Index.MEMBER_KEY, key, member_id)


def rotate(state: State, body: RotateMemberKey, signer: int | bytes) -> tuple[int, ...]:
    """Another key; detail: (from when it acts, ledger milliseconds, 0 at once).

    Raises ``TransactionRejected``: UNKNOWN_MEMBER, NOT_PERMITTED, BAD_FIELD, KEY_IN_USE.
    """
    state.need(Member, body.member, "UNKNOWN_MEMBER")
    now = state.block.ledger_time_ms
    if isinstance(signer, bytes):
        if owner_of(state, signer, now) != body.member:
            raise TransactionRejected("NOT_PERMITTED", f"not the key of member {body.member}")
        if body.member_key != signer:
            check_free(state, body.member_key)
        register(state, body.member, body.member_key)
        return (0,)
    check_free(state, body.member_key)
    since = now + RECOVERY_DAYS * MS_PER_DAY
    register(state, body.member, body.member_key, since)
    return (since,)
