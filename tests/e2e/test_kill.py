"""Validators and observers that are killed, restarted, stopped and late (CONSENSUS §3, issue: must hold)."""

import signal
from typing import Final

import pytest

from ledger.transactions import transaction_id

from .load import Load
from .network import COMMIT_SECONDS, READY_SECONDS, STOP_SECONDS, VALIDATORS, LiveNetwork

pytestmark = pytest.mark.e2e

MORE: Final = 20
"""Transactions that must be reported as committed before the next blow."""


def test_an_observer_that_joins_late_fetches_the_blocks_and_follows_also_after_a_kill(four: LiveNetwork) -> None:
    observer = four.nodes["regulator"]
    with Load(four) as load:
        load.await_more(MORE, COMMIT_SECONDS)
        heads = four.validators[0].height
        observer.start()
        four.await_ready(observer)
        four.await_height(heads, observer)
        assert observer.status()["role"] == "observer"
        load.await_more(MORE, COMMIT_SECONDS)
        four.await_height(four.validators[0].height, observer)

        observer.kill()
        load.await_more(MORE, COMMIT_SECONDS)
        missed = four.validators[0].height
        observer.start()
        four.await_ready(observer)
        four.await_height(missed, observer)
    head = four.await_agreement()
    assert observer.api.chain(head["height"]) == four.validators[0].api.chain(head["height"])
    assert head["height"] >= missed
    observer.signal(signal.SIGTERM)
    assert observer.wait() == 0


@pytest.mark.parametrize("victim", VALIDATORS)
def test_when_a_validator_is_killed_the_others_go_on_and_it_catches_up_and_signs_again(
    four: LiveNetwork, victim: str
) -> None:
    killed = four.nodes[victim]
    others = [node for node in four.validators if node is not killed]
    with Load(four) as load:
        load.await_more(MORE, COMMIT_SECONDS)
        killed.kill()
        at_death = max(node.height for node in others)
        load.await_more(MORE, COMMIT_SECONDS)
        four.await_height(at_death + 5, *others)

        killed.start()
        four.await_ready(killed)
        four.await_height(max(node.height for node in others), killed)

        four.await_vote_of(killed, silent=others[0], seen_by=others[1])
        load.await_more(MORE, COMMIT_SECONDS)
    four.await_agreement()


def test_what_was_reported_as_committed_is_there_once_after_three_kills_of_all_four(four: LiveNetwork) -> None:
    with Load(four) as load:
        for _ in range(3):
            load.await_more(MORE, COMMIT_SECONDS)
            for node in four.validators:
                node.signal(signal.SIGKILL)
            for node in four.validators:
                assert node.wait() == -signal.SIGKILL
            heads = max(load.committed.values())
            four.up()
            four.await_height(heads + 1)
            load.await_more(1, COMMIT_SECONDS)
    head = four.await_agreement()

    chains = [node.api.chain(head["height"]) for node in four.validators]
    assert all(chain == chains[0] for chain in chains), "all four tell the same blocks, byte by byte"
    places = [
        (transaction_id(raw).hex(), height)
        for height, block in enumerate(chains[0], start=1)
        for raw in block.transactions
    ]
    assert len({tx_id for tx_id, _ in places}) == len(places), "no transaction is in the chain twice"
    by_id = dict(places)
    assert {tx_id: by_id.get(tx_id) for tx_id in load.committed} == load.committed
    for at, (tx_id, height) in enumerate(load.committed.items()):
        found = four.validators[at % 4].api.get(f"/v1/transactions/{tx_id}")
        assert (found["status"], found["height"], found["code"]) == ("committed", height, "OK")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_nodes_cleanly_and_they_continue_at_the_same_height(
    four: LiveNetwork, number: signal.Signals
) -> None:
    four.commit_one(four.validators[0])
    before = four.await_agreement()
    for node in four.validators:
        node.signal(number)
    assert [node.wait(STOP_SECONDS) for node in four.validators] == [0, 0, 0, 0]

    for node in four.validators:
        node.start()
    four.await_ready(*four.validators, seconds=READY_SECONDS)
    for node in four.validators:
        assert node.status()["height"] >= before["height"]
        block = node.api.get(f"/v1/blocks/{before['height']}")
        assert block["hash"] == before["hash"]
    found = four.commit_one(four.validators[1])
    assert found["height"] > before["height"]
    four.await_agreement()


def test_a_validator_that_stops_under_load_leaves_no_promise_unkept(four: LiveNetwork) -> None:
    stopped = four.nodes["bank"]
    with Load(four) as load:
        load.await_more(MORE, COMMIT_SECONDS)
        stopped.signal(signal.SIGTERM)
        assert stopped.wait(STOP_SECONDS) == 0
        load.await_more(MORE, COMMIT_SECONDS)
        four.up()
        load.await_more(MORE, COMMIT_SECONDS)
    four.await_agreement()
    for tx_id, height in list(load.committed.items())[-50:]:
        assert stopped.api.get(f"/v1/transactions/{tx_id}")["height"] == height
