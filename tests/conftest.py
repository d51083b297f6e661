"""What holds for all tests: the commands that passing tests have run are written down (``tests.running``)."""

from collections.abc import Generator

import pytest

from tests import running


def pytest_configure(config: pytest.Config) -> None:
    """One file for all workers of a run; the first process begins it."""
    if not hasattr(config, "workerinput"):
        running.begin()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a fixture ran counts for the test that it was made for."""
    report = yield
    if report.failed:
        running.forget()
    elif report.when == "call":
        running.write(item.nodeid)
    return report
