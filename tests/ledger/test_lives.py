"""Random lives of members and claims through real blocks equal the slow oracle; `make deep` lives ten thousand."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.ledger.deep_lives import shortest
from tests.ledger.lives import FREQUENCIES, Lives, life
from tests.ledger.lives_kit import PLANS

PLAN = st.integers(0, len(PLANS) - 1)
NUMBER = st.integers(0, 999)
SEED = st.integers(0, 8_999)
MEMBERS = sorted(set(FREQUENCIES) - {"claim", "file", "join"})


@pytest.mark.parametrize("seed", range(1))
def test_members_claims_and_money_equal_the_oracle_in_every_block(seed: int) -> None:
    run = Lives(20)
    run.run(life(100_000 + seed, 40))
    run.finish()
    assert run.blocks > 300
    assert {"plan version", "claim"} <= set(run.seen)


class LivesMachine(RuleBasedStateMachine):
    """The same, with steps that hypothesis chooses, and can cut down."""

    @initialize(people=st.integers(7, 14))
    def found(self, people: int) -> None:
        self.run = Lives(people)

    @rule(hours=st.integers(1, 400))
    def time_passes(self, hours: int) -> None:
        self.run.step((-1, "pass", hours, 0))

    @rule(days=st.integers(1, 60))
    def nobody_makes_a_block(self, days: int) -> None:
        self.run.step((-1, "outage", days, 0))

    @rule(plan=PLAN, name=st.sampled_from(MEMBERS), a=NUMBER, b=SEED)
    def a_member_or_money(self, plan: int, name: str, a: int, b: int) -> None:
        self.run.step((plan, name, a, b))

    @rule(plan=PLAN, count=st.integers(1, 3), b=SEED)
    def some_join(self, plan: int, count: int, b: int) -> None:
        self.run.step((plan, "join", count, b))

    @rule(plan=PLAN, who=NUMBER, b=SEED)
    def one_claims(self, plan: int, who: int, b: int) -> None:
        self.run.step((plan, "file", who, b))

    @rule(plan=PLAN, who=NUMBER, b=SEED)
    def a_claim_goes_on(self, plan: int, who: int, b: int) -> None:
        self.run.step((plan, "claim", who, b))

    @rule(plan=PLAN, a=st.integers(0, 12), b=SEED)
    def money_is_collected(self, plan: int, a: int, b: int) -> None:
        self.run.step((plan, "collect_all", a, b))

    def teardown(self) -> None:
        if hasattr(self, "run"):
            self.run.finish()


LivesMachine.TestCase.settings = settings(max_examples=6, stateful_step_count=30, deadline=None)
TestLives = LivesMachine.TestCase


def test_a_failing_life_is_cut_down_to_the_steps_that_matter() -> None:
    steps = [(0, "join", number, 0) for number in range(50)]
    found = shortest(steps, lambda kept: {13, 31} <= {number for _, _, number, _ in kept})
    assert [number for _, _, number, _ in found] == [13, 31]
