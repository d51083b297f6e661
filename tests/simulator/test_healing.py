"""After the heal, with f dead, a block comes within three rounds of the capped timeout."""

import pytest

from ledger.votes import faults
from simulator import healing
from simulator.healing import CAPPED_ROUNDS_MAX, SIZES, TIMING, HealedRun, healings
from simulator.invariants import Violation
from simulator.runner import run_healing

BOUND_MS = CAPPED_ROUNDS_MAX * TIMING.timeout_ms_max


@pytest.mark.parametrize("nodes", [size for size in SIZES if size <= 10])
def test_a_healed_network_goes_on_within_three_capped_timeouts(nodes: int) -> None:
    for number in range(healings(nodes)):
        result = run_healing(number, nodes)
        assert result.violation is None
        assert 0 < result.recovery_ms <= BOUND_MS


def test_f_are_dead_and_the_others_had_to_wait_out_capped_rounds() -> None:
    run = HealedRun(1, 7, restart=True)
    run.run()
    assert len(run.plan.dead) == faults(7) == 2
    assert run.timing.round_timeout_ms(healing.STALL_ROUND) == TIMING.timeout_ms_max
    assert run.world.now_ms > BOUND_MS - TIMING.timeout_ms_max


def test_a_network_that_stays_silent_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(run: HealedRun, sender: object, receiver: object, message: object) -> bool:
        return not run._stalled and run.head < 3

    monkeypatch.setattr(HealedRun, "passes", silent)
    with pytest.raises(Violation, match="recovery"):
        HealedRun(1, 4, restart=False).run()
