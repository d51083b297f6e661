"""What a joining node shows of itself: percent, a rate of what is really fetched, and the time that is left."""

from node.snapshot_progress import RATE_WINDOW_S, Phase, Progress
from p2p.clock import SystemClock


class Clock(SystemClock):
    """Time stands still unless the test moves it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0

    def monotonic_s(self) -> float:
        return self.now_s


def test_before_anything_is_known_there_is_no_rate_and_no_time_left() -> None:
    shown = Progress(Clock()).shown
    assert (shown.phase, shown.percent, shown.per_second, shown.eta_seconds) == ("waiting for peers", 0.0, 0.0, None)


def test_percent_rate_and_time_left_follow_what_was_fetched() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.begin(Phase.TABLES, 10_000)
    progress.fetched(400, 50_000)
    clock.now_s += RATE_WINDOW_S
    progress.fetched(600, 50_000)
    shown = progress.shown
    assert (shown.done, shown.total, shown.percent, shown.bytes) == (1_000, 10_000, 10.0, 100_000)
    assert shown.per_second == 1_000 / RATE_WINDOW_S
    assert shown.eta_seconds == 9_000 / shown.per_second
    assert shown.as_dict()["percent"] == 10.0


def test_what_was_there_already_counts_but_says_nothing_of_the_rate() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.begin(Phase.TABLES, 10_000)
    progress.found(8_000)
    clock.now_s += 2.0
    progress.fetched(1_000)
    assert (progress.shown.percent, progress.shown.per_second, progress.shown.eta_seconds) == (90.0, 500.0, 2.0)


def test_the_rate_is_an_average_that_forgets_and_each_phase_has_its_own() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.begin(Phase.TABLES, 10_000)
    for count in (1_000, 2_000):
        clock.now_s += 1.0
        progress.fetched(count)
    assert progress.shown.per_second == 0.7 * 1_000 + 0.3 * 2_000
    progress.begin(Phase.INDEXES, 100)
    shown = progress.shown
    assert (shown.phase, shown.done, shown.percent, shown.per_second) == ("rebuilding indexes", 0, 0.0, 0.0)
    assert shown.eta_seconds is None


def test_more_than_was_expected_leaves_nothing_to_wait_for() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.begin(Phase.BLOCKS, 10)
    clock.now_s += 1.0
    progress.fetched(20)
    assert progress.shown.eta_seconds == 0.0
