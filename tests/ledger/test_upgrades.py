"""The protocol goes up by one version at a decided height, and every block follows the rules of its own version."""

from typing import Any

import pytest
from msgspec.structs import replace

from ledger import protocol, upgrades
from ledger import transactions as tx
from ledger.actions import ActivateProtocol, OpenPlan
from ledger.apply import begin_block
from ledger.blocks import header_hash
from ledger.codec import encode
from ledger.errors import OperatorError, PeerError, ProofFailed
from ledger.governance import OBJECTION_DAYS
from ledger.light import Link, genesis_trust, make_chain, verify_chain
from ledger.protocol import NEWEST, OLDEST, RULES
from ledger.rows import Proposal, Upgrade
from ledger.upgrades import AHEAD_BLOCKS_MAX, NOTICE_BLOCKS, UPGRADE_ROW, version_at
from ledger.validity import check_header, restored_view
from tests.ledger.chain import PLAN_PARAMS, Chain
from tests.ledger.test_governance import days, enacted, passed, refused

SECOND: Any = OpenPlan("second", PLAN_PARAMS)


def decided(ahead: int = 200, version: int = 2) -> tuple[Chain, int]:
    """A chain with an upgrade ahead, and the height at which it begins."""
    chain = Chain()
    height = chain.view.height + ahead
    enacted(chain, ActivateProtocol(version, height))
    return chain, height


def climb(chain: Chain, height: int) -> None:
    """Empty blocks up to ``height``."""
    while chain.view.height < height:
        chain.block()


def at_height_of(chain: Chain, height: int, name: str, body: Any) -> str:
    """The code of one transaction in block ``height``."""
    climb(chain, height - 1)
    block = chain.block((name, body))
    assert block.header.height == height
    return block.codes[0]


# ---- deciding -------------------------------------------------------------------------------------------------------


def test_every_version_has_its_row_of_rules_and_the_genesis_the_oldest() -> None:
    assert list(RULES) == list(range(OLDEST, NEWEST + 1))
    assert len({repr(rules) for rules in RULES.values()}) == len(RULES), "a version that changes nothing is none"
    chain = Chain()
    assert (chain.view.header.version, chain.view.version, chain.view.upgrade) == (OLDEST, OLDEST, None)


def test_a_decided_version_is_in_force_from_its_height_on_and_not_a_block_earlier() -> None:
    chain, height = decided()
    assert chain.view.upgrade == chain.state.get(Upgrade, UPGRADE_ROW) == Upgrade(2, height)
    climb(chain, height + 2)
    assert [block.header.version for block in chain.blocks] == [1] * (height - 1) + [2] * 3


@pytest.mark.parametrize(
    ("version", "ahead", "code"),
    [
        (1, 100, "NOT_NEXT_VERSION"),
        (3, 100, "NOT_NEXT_VERSION"),
        (2, NOTICE_BLOCKS - 1, "UPGRADE_TOO_LATE"),
        (2, 0, "UPGRADE_TOO_LATE"),
        (2, AHEAD_BLOCKS_MAX + 1, "BAD_FIELD"),
    ],
)
def test_only_the_next_version_may_be_decided_at_a_height_neither_near_nor_out_of_sight(
    version: int, ahead: int, code: str
) -> None:
    chain = Chain()
    now = chain.view.height + 1  # the height of the block that the proposal stands in
    assert refused(chain, ActivateProtocol(version, now + ahead)) == code


@pytest.mark.parametrize("ahead", [NOTICE_BLOCKS, AHEAD_BLOCKS_MAX])
def test_both_bounds_of_the_height_may_be_proposed(ahead: int) -> None:
    chain = Chain()
    chain.ok("platform", tx.Propose(ActivateProtocol(2, chain.view.height + 1 + ahead)))


def test_a_height_that_came_too_near_while_it_was_voted_on_fails_and_changes_nothing() -> None:
    chain = Chain()
    proposal = passed(chain, ActivateProtocol(2, chain.view.height + 1 + NOTICE_BLOCKS))
    climb(chain, chain.view.height + NOTICE_BLOCKS)
    days(chain, OBJECTION_DAYS + 1)
    assert chain.state.get(Proposal, proposal).code == "UPGRADE_TOO_LATE"
    assert (chain.view.version, chain.view.upgrade) == (OLDEST, None)


def test_one_upgrade_is_ahead_at_most_and_may_be_moved_until_it_is_near() -> None:
    chain, height = decided()
    assert refused(chain, ActivateProtocol(3, height + 100)) == "NOT_NEXT_VERSION"
    assert refused(chain, ActivateProtocol(2, height)) == "NOTHING_TO_DECIDE"
    enacted(chain, ActivateProtocol(2, height + 50))
    assert chain.view.upgrade == Upgrade(2, height + 50)
    climb(chain, height)
    assert chain.view.version == 1
    climb(chain, height + 50 - NOTICE_BLOCKS - 1)
    chain.ok("platform", tx.Propose(ActivateProtocol(2, height + 90)))  # its block is NOTICE_BLOCKS below
    assert refused(chain, ActivateProtocol(2, height + 90)) == "UPGRADE_TOO_LATE"
    climb(chain, height + 50)
    assert chain.view.version == 2


def test_a_version_that_this_program_does_not_know_is_decided_all_the_same() -> None:
    chain, height = decided(100)
    climb(chain, height)
    enacted(chain, ActivateProtocol(NEWEST + 1, chain.view.height + 60))
    assert chain.view.upgrade is not None and chain.view.upgrade.version == NEWEST + 1


def test_the_version_of_a_height_follows_from_the_newest_upgrade() -> None:
    row = Upgrade(3, 100)
    assert [version_at(row, height) for height in (1, 99, 100, 101)] == [2, 2, 3, 3]
    assert version_at(None, 10**9) == OLDEST


# ---- the difference -------------------------------------------------------------------------------------------------


def test_the_same_proposal_twice_is_taken_by_version_1_and_refused_by_version_2() -> None:
    chain, height = decided()
    chain.ok("platform", tx.Propose(SECOND))
    assert at_height_of(chain, height - 1, "bank", tx.Propose(SECOND)) == "OK"
    assert at_height_of(chain, height, "bank", tx.Propose(SECOND)) == "PROPOSAL_OPEN"
    assert chain.block(("bank", tx.Propose(OpenPlan("third", PLAN_PARAMS)))).codes == ["OK"]


def test_version_2_lets_a_decided_proposal_be_made_again() -> None:
    chain, height = decided()
    climb(chain, height)
    proposal, _ = chain.ok("platform", tx.Propose(SECOND))
    assert chain.refused("bank", tx.Propose(SECOND)) == "PROPOSAL_OPEN"
    chain.ok("regulator", tx.Veto(proposal))
    chain.ok("bank", tx.Propose(SECOND))


# ---- blocks and programs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("above", "version"), [(-1, 2), (0, 1), (0, 3), (1, 1)])
def test_a_block_of_another_version_than_its_heights_is_invalid(above: int, version: int) -> None:
    chain, height = decided(150)
    climb(chain, height + above - 1)
    header, _, _ = chain.propose()
    wrong = replace(header, version=version)
    with pytest.raises(PeerError, match="WRONG_PROTOCOL_VERSION"):
        check_header(chain.view, wrong, encode(wrong))
    check_header(chain.view, header, encode(header))


def test_a_program_never_executes_a_block_of_a_version_it_does_not_know() -> None:
    chain = Chain()
    header, body, _ = chain.propose()
    with pytest.raises(OperatorError, match="protocol 3 is needed from height 1: this program speaks 1 to 2") as caught:
        begin_block(chain.store, chain.view, replace(header, version=NEWEST + 1), body.parent_certificate)
    assert (caught.value.code, caught.value.exit_code) == ("PROTOCOL_UPGRADE_NEEDED", 3)
    with pytest.raises(OperatorError):
        protocol.rules_of(NEWEST + 1)


def test_what_a_program_needs_and_from_which_height_is_named() -> None:
    protocol.check_known(1, 1, newest=1)
    with pytest.raises(OperatorError, match="protocol 2 is needed from height 77: this program speaks 1$"):
        protocol.check_known(2, 77, newest=1)


def test_a_restarted_node_knows_the_upgrade_from_the_rows() -> None:
    chain, height = decided()
    parent, newest = chain.blocks[-2], chain.blocks[-1]
    again = restored_view(
        chain.store,
        chain_id=chain.genesis.chain_id,
        params=chain.genesis.params,
        header=newest.header,
        header_raw=encode(newest.header),
        parent_header=parent.header,
        validators=chain.view.validators,
        next_validators=chain.view.next_validators,
        state_root=chain.view.state_root,
        receipts_root=chain.view.receipts_root,
        recent_sets=chain.view.recent_sets,
    )
    assert (again.upgrade, again.version) == (Upgrade(2, height), 1)


# ---- without a node -------------------------------------------------------------------------------------------------


def proven(chain: Chain, versions: dict[int, int]) -> Any:
    """The headers of a chain, with some versions changed and honestly signed once more."""
    records, parent = [], chain.genesis and genesis_trust(chain.genesis).header_hash
    for at, block in enumerate(chain.blocks):
        header = replace(block.header, parent=parent, version=versions.get(block.header.height, block.header.version))
        fork = chain.fork()
        if at:
            fork.view = chain.blocks[at - 1].applied.view
        else:
            fork.view = Chain(chain.values).view
        parent = header_hash(encode(header))
        link = Link(encode(header), encode(fork.certify(header)))
        records.append((link.header, link.certificate, chain.view.validators))
    return make_chain(b"", records)


def test_a_light_client_follows_a_chain_across_the_upgrade_and_never_down() -> None:
    chain = Chain()
    for _ in range(6):
        chain.block()
    trust = genesis_trust(chain.genesis)
    assert verify_chain(trust, proven(chain, {4: 2, 5: 2, 6: 2})).newest.version == 2
    with pytest.raises(ProofFailed, match="protocol version 1 after 2"):
        verify_chain(trust, proven(chain, {4: 2, 6: 2}))
    with pytest.raises(ProofFailed, match="protocol version 3, this program speaks 1 to 2"):
        verify_chain(trust, proven(chain, {4: 3, 5: 3, 6: 3}))


def test_the_row_is_bound_by_the_state_root_and_its_place_is_its_own() -> None:
    chain, _ = decided()
    assert chain.state.length(Upgrade) == UPGRADE_ROW + 1
    assert upgrades.upgrade(chain.state) == chain.view.upgrade
