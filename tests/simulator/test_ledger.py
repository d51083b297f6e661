"""Seeds with the real rules: money adds up, everybody has the same state, and the second set of books can fail."""

from msgspec.structs import replace

from ledger.rows import Account
from ledger.state import BlockContext, State
from ledger.store import Overlay
from simulator.ledger import LedgerReplica
from simulator.runner import run_seed
from simulator.simulation import Simulation

REAL_SEEDS = (2, 123, 274)


def run(seed: int) -> Simulation:
    simulation = Simulation(seed)
    simulation.run()
    return simulation


def replica_of(simulation: Simulation) -> LedgerReplica:
    newest = max((node.replica for node in simulation.nodes if node.honest), key=lambda chain: chain.view.height)
    assert isinstance(newest, LedgerReplica)
    return newest


def test_real_seeds_execute_transactions_and_move_money() -> None:
    executed, cash = 0, 0
    for seed in REAL_SEEDS:
        replica = replica_of(run(seed))
        executed += sum(len(sealed.transactions) for sealed in replica.chain)
        cash += replica.cash_fen
        assert replica.fault() is None
    assert executed > 30 and cash > 0


def test_the_books_notice_a_fen_that_nobody_attested() -> None:
    replica = replica_of(run(123))
    view = replica.view
    overlay = Overlay(replica.store)
    block = BlockContext(view.chain_id, view.height, view.header.time_ms, 0, view.header.creator, view.header.beacon)
    account = replica.state.get(Account, 0)
    state = State(overlay, block)
    state.put(0, replace(account, cash=account.cash + 1, advance=account.advance + 1))
    state.root()
    replica.store.write(overlay.batch())
    assert replica.fault() == f"plan 0 has {account.cash + 1} fen in cash, the bank attested {account.cash}"


def test_a_chain_rewound_and_executed_again_has_the_same_root() -> None:
    replica = replica_of(run(123))
    assert replica.rewound(len(replica.chain)).view == replica.view


def test_a_real_seed_is_the_same_run_again() -> None:
    assert run_seed(123).trace_hash == run_seed(123).trace_hash
