"""A lost quorum: the recovery record, the block that holds it, who follows it with headers alone (CONSENSUS §6)."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from ledger import recovery
from ledger import transactions as tx
from ledger.blocks import Body, Header, RecoveryRecord
from ledger.blockwalk import BlockWalk
from ledger.codec import encode
from ledger.errors import PeerError, ProofFailed
from ledger.light import ChainProof, HeaderWalk, Link, genesis_trust, make_chain, verify_chain
from ledger.limits import RECOVERY_SIGNATURES_MAX
from ledger.recovery import same_record, set_fault, standing, with_signature
from ledger.rows import Validator
from ledger.transactions import signed_digest
from ledger.validity import check_body, check_header, recovered_view, view_for
from ledger.votes import ValidatorEntry
from tests.ledger.chain import Chain, key, seed

SIGNERS = ("platform", "bank", "firm-a")


def entry(seat: int, organisation: int, name: str) -> ValidatorEntry:
    owner = ("platform", "bank", "firm-a", "firm-b")[organisation]
    return ValidatorEntry(seat, organisation, key(owner), key(f"{name} validator"), key(f"{name} beacon"))


def survivors(chain: Chain) -> tuple[ValidatorEntry, ...]:
    """The platform keeps its keys, bank and firm-a have new machines, firm-b is not there any more."""
    for name in ("bank two", "firm-a two", "firm-b two"):
        chain.learn(f"{name} validator", f"{name} beacon")
    return (entry(0, 0, "platform"), entry(1, 1, "bank two"), entry(2, 2, "firm-a two"), entry(4, 3, "firm-b two"))


def unsigned(chain: Chain) -> RecoveryRecord:
    view = chain.view
    return RecoveryRecord(view.chain_id, view.epoch + 1, view.height, view.header_hash, survivors(chain), ())


def signed(chain: Chain, *names: str) -> RecoveryRecord:
    record = unsigned(chain)
    for name in names or SIGNERS:
        record = with_signature(record, seed(name))
    return record


@pytest.fixture
def chain() -> Chain:
    made = Chain()
    for _ in range(3):
        made.block()
    return made


def last(record: RecoveryRecord, **changes: Any) -> RecoveryRecord:
    """The record with another last entry."""
    *others, entry = record.validators
    return replace(record, validators=(*others, replace(entry, **changes)))


def code(view: Any, record: RecoveryRecord) -> str | None:
    try:
        recovered_view(view, record)
    except PeerError as error:
        return error.code
    return None


# ---- who may decide it ---------------------------------------------------------------------------------------------


def test_organisations_of_q_seats_decide_and_one_fewer_does_not(chain: Chain) -> None:
    assert code(chain.view, signed(chain)) is None
    assert code(chain.view, signed(chain, "platform", "bank")) == "BAD_RECOVERY"
    assert code(chain.view, signed(chain, "platform", "bank", "hospital", "regulator")) == "BAD_RECOVERY", "no seats"


def test_seats_are_counted_and_never_signatures(chain: Chain) -> None:
    record = signed(chain, "platform", "bank")
    double = replace(record, signatures=(record.signatures[0], *record.signatures))
    assert code(chain.view, double) == "BAD_RECOVERY"
    again = with_signature(record, seed("bank"))
    assert again == record


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("another chain", lambda r: replace(r, chain_id=bytes(32))),
        ("an epoch too far", lambda r: replace(r, epoch=2)),
        ("the epoch in force", lambda r: replace(r, epoch=0)),
        ("another height", lambda r: replace(r, head_height=2)),
        ("another head", lambda r: replace(r, head_hash=bytes(32))),
        ("nobody", lambda r: replace(r, validators=())),
        ("not ascending", lambda r: replace(r, validators=r.validators[::-1])),
        ("a seat twice", lambda r: replace(r, validators=(r.validators[0], *r.validators))),
        ("a gap", lambda r: last(r, seat=5)),
        ("no organisation", lambda r: last(r, organisation=99)),
        ("two seats of one", lambda r: last(r, organisation=0)),
        ("a key twice", lambda r: last(r, beacon_key=r.validators[0].validator_key)),
        ("no key", lambda r: last(r, validator_key=bytes(31))),
    ],
)
def test_a_record_that_does_not_follow_is_refused_however_well_it_is_signed(
    what: str, change: Callable[[RecoveryRecord], RecoveryRecord], chain: Chain
) -> None:
    record = change(unsigned(chain))
    for name in SIGNERS:
        record = with_signature(record, seed(name))
    assert code(chain.view, record) == "BAD_RECOVERY", what


def test_a_forged_or_moved_signature_is_refused(chain: Chain) -> None:
    record = signed(chain)
    (first, _), *rest = record.signatures
    for signatures in (((first, bytes(64)), *rest), tuple(reversed(record.signatures))):
        assert code(chain.view, replace(record, signatures=signatures)) == "BAD_RECOVERY"
    other = replace(record, head_height=record.head_height - 1)
    assert code(chain.view, other) == "BAD_RECOVERY", "the signatures are of another record"


def test_more_signatures_than_anybody_needs_are_refused_before_one_is_verified(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[bytes] = []

    def verify(key: bytes, message: bytes, signature: bytes) -> bool:
        verified.append(key)
        return True

    monkeypatch.setattr(recovery, "verify", verify)
    record, announced = signed(chain), chain.view.next_validators
    for count in (RECOVERY_SIGNATURES_MAX, RECOVERY_SIGNATURES_MAX + 1):
        verified.clear()
        many = replace(record, signatures=tuple((index.to_bytes(32, "big"), bytes(64)) for index in range(count)))
        if count > RECOVERY_SIGNATURES_MAX:
            with pytest.raises(PeerError, match="signatures"):
                standing(many, announced)
            assert not verified
        else:
            assert not standing(many, announced).enough and len(verified) == count


def test_standing_names_the_seats_that_have_signed(chain: Chain) -> None:
    found = standing(signed(chain, "firm-b", "platform"), chain.view.next_validators)
    assert (found.signed, found.wanted, found.enough) == ((0, 3), 3, False)
    assert set_fault(survivors(chain)) is None


# ---- the first block of an epoch -----------------------------------------------------------------------------------


def proposed(chain: Chain) -> tuple[Header, Body]:
    header, body, _ = chain.propose()
    return header, body


def fault(chain: Chain, header: Header, body: Body) -> str | None:
    try:
        view = view_for(chain.view, body.recovery)
        check_header(view, header, encode(header))
        check_body(view, header, body, [], body_bytes=len(encode(body)))
    except PeerError as error:
        return error.code
    return None


def test_the_record_stands_in_the_first_block_which_carries_the_new_epoch(chain: Chain) -> None:
    before, record = chain.fork(), signed(chain)
    chain.recover(record)
    header, body = proposed(chain)
    assert (header.epoch, header.height, body.recovery) == (1, 4, record)
    assert fault(chain, header, body) is None
    assert fault(chain, header, replace(body, recovery=None)) == "MISSING_RECOVERY"
    assert fault(before, header, body) is None, "the block itself tells a node that has not been told"
    assert fault(before, header, replace(body, recovery=None)) == "WRONG_EPOCH"
    assert fault(before, header, replace(body, recovery=signed(before, "bank"))) == "BAD_RECOVERY"


def test_a_record_with_other_signatures_is_the_same_record(chain: Chain) -> None:
    record, other = signed(chain), signed(chain, "firm-b", *SIGNERS)
    assert same_record(record, other)
    chain.recover(record)
    assert recovered_view(chain.view, other) == chain.view
    header, body = proposed(chain)
    assert fault(chain, header, replace(body, recovery=other)) is None


def test_no_second_record_is_taken_for_the_same_epoch(chain: Chain) -> None:
    record = signed(chain)
    rival = replace(record, validators=record.validators[:3], signatures=())
    for name in SIGNERS:
        rival = with_signature(rival, seed(name))
    assert code(chain.view, rival) is None
    chain.recover(record)
    assert code(chain.view, rival) == "BAD_RECOVERY"


def test_the_set_is_in_force_at_once_and_the_rows_follow(chain: Chain) -> None:
    record = signed(chain)
    chain.recover(record)
    assert chain.view.next_validators == chain.view.after_next_validators == record.validators
    chain.block()
    assert chain.view.recovery is None
    assert chain.view.after_next_validators == record.validators, "V(head + 3) is read from the rows"
    rows = [row for _, row in chain.state.rows(Validator)]
    assert [row.active for row in rows] == [True, True, True, False, True]
    assert [(row.fails, row.skipped_until) for row in rows] == [(0, 0)] * 5
    chain.block()
    assert "UNEXPECTED_RECOVERY" in str(refusal(chain, record))


def refusal(chain: Chain, record: RecoveryRecord) -> PeerError:
    header, body = proposed(chain)
    with pytest.raises(PeerError) as caught:
        check_body(chain.view, header, replace(body, recovery=record), [], body_bytes=1)
    return caught.value


def test_a_transaction_is_signed_for_an_epoch(chain: Chain) -> None:
    old = chain.transaction("platform", tx.Exit(0))
    chain.recover(signed(chain))
    chain.block()
    new = chain.transaction("platform", tx.Exit(0))
    digests = {signed_digest(raw, chain.genesis.chain_id, epoch) for raw in (old, new) for epoch in (0, 1)}
    assert len(digests) == 4
    assert chain.view.epoch == 1


def test_a_second_recovery_follows_the_first(chain: Chain) -> None:
    chain.recover(signed(chain))
    chain.block()
    chain.block()
    second = replace(unsigned(chain), epoch=2)
    for name in (*SIGNERS, "firm-b"):
        second = with_signature(second, seed(name))
    chain.recover(second)
    chain.block()
    assert (chain.view.epoch, chain.blocks[-1].header.epoch) == (2, 2)


# ---- whoever follows -----------------------------------------------------------------------------------------------


def grown(chain: Chain) -> RecoveryRecord:
    record = signed(chain)
    chain.recover(record)
    for _ in range(3):
        chain.block()
    return record


def proof_of(chain: Chain, record: RecoveryRecord | None) -> ChainProof:
    founders = chain.genesis.validators()
    records, before = [], b""
    for block in chain.blocks:
        entries = founders if block.header.epoch == 0 else record.validators if record else founders
        changed = block.header.validators_hash != before
        records.append((encode(block.header), encode(block.certificate), entries if changed else None))
        before = block.header.validators_hash
    return make_chain(b"", records, [(record, founders)] if record else [])


def with_(proof: ChainProof, **changes: Any) -> ChainProof:
    """The proof with another recovery record."""
    return replace(proof, recoveries=(replace(proof.recoveries[0], **changes),))


def test_a_light_client_crosses_the_epoch_with_the_record_alone(chain: Chain) -> None:
    record = grown(chain)
    proof = proof_of(chain, record)
    assert [len(entries) for entries in proof.sets] == [4, 4]
    assert verify_chain(genesis_trust(chain.genesis), proof).newest.height == 6


@pytest.mark.parametrize(
    ("what", "change", "why"),
    [
        ("without the record", lambda p, r: replace(p, recoveries=()), "epoch 1 after 0"),
        ("a record too many", lambda p, r: replace(p, recoveries=(r, r)), "that no header needs"),
        ("too few signatures", lambda p, r: with_(p, signatures=r.signatures[:2]), "3 are needed"),
        ("another set", lambda p, r: with_(p, validators=r.validators[:3]), "does not verify"),
        ("without the old set", lambda p, r: replace(p, sets=p.sets[1:]), "lacks its validator set"),
    ],
)
def test_a_light_client_is_not_led_over(
    what: str, change: Callable[[ChainProof, RecoveryRecord], ChainProof], why: str, chain: Chain
) -> None:
    record = grown(chain)
    with pytest.raises(ProofFailed, match=why):
        verify_chain(genesis_trust(chain.genesis), change(proof_of(chain, record), record))


@pytest.mark.parametrize("execute", [False, True])
def test_a_file_of_blocks_is_walked_over_the_epoch(execute: bool, chain: Chain) -> None:
    grown(chain)
    walk = BlockWalk(chain.genesis, execute=execute)
    for block in chain.blocks:
        walk.step(encode(block.header), encode(block.body), encode(block.certificate), block.applied.receipts)
    assert walk.height == 6


def test_everybody_begins_the_epoch_with_a_clean_sheet(chain: Chain) -> None:
    failed = chain.view.proposers()[0].seat
    chain.block(round_=1)
    chain.block()
    assert chain.state.get(Validator, failed).skipped_until > 0
    record = replace(unsigned(chain), validators=chain.view.next_validators)
    for name in SIGNERS:
        record = with_signature(record, seed(name))
    chain.recover(record)
    assert chain.view.eligible == record.validators
    chain.block()
    rows = [row for _, row in chain.state.rows(Validator)]
    assert [(row.fails, row.skipped_until, row.previous_skipped_until) for row in rows] == [(0, 0, 0)] * 4


def walked(chain: Chain) -> tuple[HeaderWalk, Link, RecoveryRecord]:
    """At the named head; the next link; the record."""
    record = grown(chain)
    walk = HeaderWalk(genesis_trust(chain.genesis))
    links = [Link(encode(block.header), encode(block.certificate)) for block in chain.blocks]
    for link in links[:3]:
        walk.step(link, chain.genesis.validators())
    return walk, links[3], record


def test_the_walk_counts_the_signatures_over_the_set_that_the_head_announced(chain: Chain) -> None:
    walk, link, record = walked(chain)
    with pytest.raises(ProofFailed, match="the set that its parent announced"):
        walk.step_over(link, record, record.validators)
    with pytest.raises(ProofFailed, match="a recovery lies before it"):
        walk.step(link, record.validators)
    assert walk.step_over(link, record, chain.genesis.validators()).epoch == 1


@pytest.mark.parametrize("field", ["validators_hash", "next_validators_hash"])
def test_both_sets_of_the_first_header_are_the_records(field: str, chain: Chain) -> None:
    walk, link, record = walked(chain)
    header = replace(chain.blocks[3].header, **{field: walk.header.next_validators_hash})
    with pytest.raises(ProofFailed, match="not the recovery record's"):
        walk.step_over(replace(link, header=encode(header)), record, chain.genesis.validators())


def test_another_header_than_the_named_head_is_not_continued(chain: Chain) -> None:
    walk, link, record = walked(chain)
    other = replace(record, head_hash=bytes(32), signatures=())
    for name in SIGNERS:
        other = with_signature(other, seed(name))
    with pytest.raises(ProofFailed, match="names block 3, or another one"):
        walk.step_over(link, other, chain.genesis.validators())
