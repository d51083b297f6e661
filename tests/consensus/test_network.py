"""Whole networks of honest cores under seeded faults, then healed (a small forerunner of CONSENSUS §7)."""

from random import Random

import pytest

from consensus.quorum import faults
from consensus.scheme import ED25519
from tests.consensus.harness import Faults, Network, disturb

HEIGHTS = 6


def faults_of(random: Random, seed: int) -> Faults:
    """Each family on or off."""
    return Faults(
        loss=random.choice((0, 0, 0.05, 0.2)),
        duplication=random.choice((0, 0.1)),
        latency_ms_max=random.choice((5, 20, 300)),
        crash_every_ms=random.choice((0, 300, 1500)),
        partition_every_ms=random.choice((0, 500)),
        fsync_ms_max=random.choice((0, 5, 50)),
        mempool_gap=random.choice((0, 0.3)),
        codec=seed % 8 == 0,
    )


def play(seed: int, *, twins: bool = False) -> Network:
    random = Random(seed * 7919)
    n = random.choice((4, 4, 4, 5, 6, 7))
    network = Network(seed, n, faults_of(random, seed), HEIGHTS, twins=faults(n) if twins else 0)
    for node in (*network.nodes, *network.twins.values()):
        network.at(random.randint(0, 50), node.start)
    disturb(network, 3_000)
    network.run_for(3_000)
    network.heal()
    network.run(lambda: all(len(node.chain) >= HEIGHTS for node in network.honest), network.now + 120_000)
    return network


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_one_block_a_height_no_double_signature_and_progress_after_the_heal(first: int) -> None:
    for seed in range(first, first + 20):
        play(seed)


@pytest.mark.parametrize("first", range(0, 24, 8))
def test_f_byzantine_twins_fork_nobody_and_stop_nobody(first: int) -> None:
    accused = set()
    for seed in range(first, first + 8):
        accused |= play(seed, twins=True).accused
    assert accused


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 10])
def test_without_faults_every_block_is_decided_in_round_zero(n: int) -> None:
    network = Network(1, n, Faults(codec=True), 5)
    for node in network.nodes:
        node.start()
    network.run(lambda: all(len(node.chain) >= 5 for node in network.nodes), 3_000)
    assert all(decided.certificate.round == 0 for node in network.nodes for decided in node.chain)


def test_with_real_signatures() -> None:
    network = Network(3, 4, Faults(loss=0.05, latency_ms_max=30), 3, ED25519)
    for node in network.nodes:
        node.start()
    network.run(lambda: all(len(node.chain) >= 3 for node in network.nodes), 60_000)


def test_f_dead_validators_stop_nothing() -> None:
    network = Network(5, 7, Faults(), 6)
    for node in network.nodes[:5]:
        node.start()
    network.run(lambda: all(len(node.chain) >= 6 for node in network.nodes[:5]), 60_000)


def test_below_a_quorum_nothing_is_decided_and_nobody_runs_ahead() -> None:
    network = Network(5, 4, Faults(), 6)
    for node in network.nodes:
        node.start()
    network.run(lambda: all(len(node.chain) >= 1 for node in network.nodes), 3_000)
    for node in network.nodes[2:]:
        node.crash()
    height = max(len(node.chain) for node in network.nodes)
    network.run_for(60_000)
    assert max(len(node.chain) for node in network.nodes) <= height + 1
    assert all(node.core.round <= 2 for node in network.nodes[:2] if node.core is not None)


def test_four_fresh_nodes_sign_after_one_round_trip_of_last_seen() -> None:
    network = Network(7, 4, Faults(latency_ms_max=10), 1)
    for node in network.nodes:
        node.start()
    network.run(lambda: all(node.core is not None and node.core.signing for node in network.nodes), 30)


def test_same_seed_same_history() -> None:
    one, two = play(17), play(17)
    assert (one.now, one.events, one.decided) == (two.now, two.events, two.decided)
