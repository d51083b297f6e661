"""Each seeded bug is noticed by an invariant that every seed is held to; without it the same seed is green."""

from itertools import chain

import pytest

from simulator.bugs import BUGS, planted, rule_of
from simulator.runner import first_catch, run_seed

SEEDS_MAX = 700
STARTS = {"count_a_signer_twice": 80, "execute_expired_again": 540, "wrong_highest_prepared": 80, "no_hash_check": 80}
"""Where to look first, so that rare ones are found soon; the other seeds follow."""


@pytest.mark.parametrize("bug", BUGS)
def test_a_seeded_bug_is_caught_by_a_general_invariant(bug: str) -> None:
    start = STARTS.get(bug, 0)
    caught = first_catch(bug, [*chain(range(start, SEEDS_MAX), range(start))])
    assert caught is not None, rule_of(bug)
    assert run_seed(caught.seed).violation is None


def test_a_bug_is_gone_when_it_is_dug_out() -> None:
    before = run_seed(1)
    with planted("timer_not_gated"):
        assert run_seed(1).invariant == "round_synchrony"
    assert run_seed(1) == before
