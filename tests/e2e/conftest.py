"""Fixtures of the end-to-end tests: one shared network, and the nodes' logs in every failure."""

import signal
from collections.abc import Generator, Iterator
from types import FrameType

import pytest

from ledger.calendar import day_from_civil, start_of_day
from tests.e2e.network import LiveNetwork
from tests.e2e.reporting import LINES


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="session", autouse=True)
def _ended_by_sigterm_like_by_ctrl_c() -> Iterator[None]:
    """A test run that is told to end still ends its nodes."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNetwork]:
    """Four validators, and three observers that nobody has started yet."""
    with LiveNetwork(tmp_path_factory.mktemp("shared") / "net", observers=3) as network:
        yield network


@pytest.fixture(scope="session")
def stepped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNetwork]:
    """Four validators whose ledger time goes when it is told to, for what organisations decide."""
    begin_ms = start_of_day(day_from_civil(2018, 10, 16))
    with LiveNetwork(tmp_path_factory.mktemp("clocked") / "net", clock_ms=begin_ms) as network:
        yield network


@pytest.fixture
def clocked(stepped: LiveNetwork) -> LiveNetwork:
    """That network with its four validators ready."""
    return stepped.up()


@pytest.fixture
def four(shared: LiveNetwork) -> LiveNetwork:
    """The shared network with its four validators ready, whatever the test before did to it."""
    return shared.up()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the manifests measured."""
    if LINES:
        terminalreporter.section("manifests")
        terminalreporter.write_line("\n".join(LINES))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Append the end of every node's log to the report of a failure."""
    report = yield
    if report.failed:
        for network in LiveNetwork.alive:
            for node in network.nodes.values():
                if node.groups:
                    report.sections.append((node.name, node.report()))
    return report
