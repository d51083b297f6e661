"""No transaction whatever breaks a block: every decodable body is executed or refused with a code of the table."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger import actions, calendar
from ledger import transactions as tx
from ledger.apply import begin_block
from ledger.blocks import Receipt
from ledger.codec import encode
from ledger.errors import CODES
from ledger.limits import SINGLE_TRANSACTION_BYTES_MAX
from ledger.params import ClassBand, PlanParams, TierBand
from ledger.roles import MAY_SEND, Role
from ledger.transactions import decode_transaction, transaction_id
from tests.ledger.chain import PLAN_PARAMS, Chain, key
from tests.ledger.test_life import enrolled, settled

INTEGERS = st.one_of(
    st.integers(-2, 310),
    st.sampled_from((-(2**63), 2**63 - 1, 2**64 - 1, 2**53, 2**32, 2**31, 65_535, 2**40, 17_900, 18_000, 24_000)),
    st.integers(-(2**63), 2**64 - 1),
)
BYTES = st.one_of(st.sampled_from((b"", bytes(16), bytes(32), b"reference")), st.binary(max_size=80))
FIELDS: dict[Any, st.SearchStrategy[Any]] = {
    int: INTEGERS,
    bytes: BYTES,
    bool: st.booleans(),
    tuple[int, ...]: st.lists(INTEGERS, max_size=5).map(tuple),
    str: st.one_of(st.sampled_from(("main", "clinic", "")), st.text(max_size=80)),
    tuple[bytes, ...]: st.lists(BYTES, max_size=3).map(tuple),
    PlanParams: st.builds(
        replace,
        st.just(PLAN_PARAMS),
        year_cap_fen=INTEGERS,
        notice_days=INTEGERS,
        tiers=st.lists(st.builds(TierBand, INTEGERS, INTEGERS, INTEGERS), max_size=2).map(tuple),
        classes=st.one_of(
            st.just(PLAN_PARAMS.classes),
            st.lists(st.builds(ClassBand, INTEGERS, INTEGERS, INTEGERS), max_size=2).map(tuple),
        ),
    )
    | st.just(PLAN_PARAMS),
    tuple[tuple[bytes, int], ...]: st.lists(st.tuples(BYTES, INTEGERS), max_size=4).map(tuple),
}
FIELDS[actions.Action] = st.one_of(
    *(
        st.builds(kind, **{field: FIELDS[kind.__annotations__[field]] for field in kind.__struct_fields__})
        for kind in actions.Action.__args__
    )
)
SENDERS = {
    Role.PLATFORM: "platform",
    Role.BANK: "bank",
    Role.ASSESSOR: "firm-a",
    Role.HOSPITAL: "hospital",
    Role.REGULATOR: "regulator",
}


def sender(kind: Any) -> str:
    """Somebody who may send it, so that the rule itself is reached (who may not: ``test_sender``)."""
    if kind is tx.AdvanceClock:
        return "clock"
    return next((SENDERS[role] for role in Role if role in MAY_SEND[kind][0]), "member with a key")


def sent_bodies() -> st.SearchStrategy[tuple[str, Any]]:
    kinds = tx.TransactionBody.__args__
    return st.one_of(
        *(
            st.tuples(
                st.just(sender(kind)),
                st.builds(kind, **{field: FIELDS[kind.__annotations__[field]] for field in kind.__struct_fields__}),
            )
            for kind in kinds
        )
    )


def chains() -> list[Chain]:
    """A chain at its beginning, one with a settled and open period, one in between; each has a member with a key."""
    begun, open_period = Chain(), enrolled()
    for chain in (begun, open_period):
        chain.ok("member with a key", tx.Enrol(0, bytes(32), 1990 * 12, key("member with a key")))
    settled(open_period)
    closed = open_period.fork()
    closed.step_to(closed.now_ms + 10 * calendar.MS_PER_DAY)
    return [begun, open_period, closed]


CHAINS = chains()


@given(st.integers(0, len(CHAINS) - 1), st.lists(sent_bodies(), max_size=8))
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_body_is_executed_or_refused_by_a_code_of_the_table(at: int, sent: list[tuple[str, Any]]) -> None:
    chain = CHAINS[at]
    raws = [raw for name, body in sent if len(raw := chain.transaction(name, body)) <= SINGLE_TRANSACTION_BYTES_MAX]
    header, body, _ = chain.propose()
    execution = begin_block(chain.store, chain.view, header, body.parent_certificate)
    execution.run_deadlines()
    for raw in raws:
        receipt = execution.deliver(transaction_id(raw), decode_transaction(raw))
        assert receipt.code in CODES
        assert (receipt.detail == ()) or receipt.code == "OK"
    for receipt in execution.finish().receipts:
        assert isinstance(receipt, Receipt)
        assert encode(receipt)
