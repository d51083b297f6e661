"""The golden scenarios: each file of ``tests/scenarios`` tells one story of the protocol in plain lines."""

from pathlib import Path

import pytest

from consensus import voting
from consensus.logstate import LogState, SignedKind
from consensus.messages import Lock
from consensus.own import persist
from consensus.quorum import quorum
from consensus.records import LockRecord, VoteRecord
from consensus.state import Core
from ledger.votes import Commit, Prepare
from tests.consensus.script import Script
from tests.consensus.script_faults import ScenarioFailed

SCENARIOS = sorted((Path(__file__).parent.parent / "scenarios").glob("*.txt"))


def naive_fault(record: LogState, message: SignedKind) -> str | None:
    """The seeded bug: only "one message per (height, round, kind)" is remembered."""
    granted = record.granted.get((type(message), message.round))
    return None if granted in (None, message) else "another message of this round was signed"


def naive_commit(core: Core) -> None:
    """The seeded bug: commits in any round whose Prepares are here."""
    context = core.open.context
    n = len(context.validators)
    for round in range(core.open.round + 1):
        own = core.record.signed(Prepare, round)
        if not isinstance(own, Prepare) or core.record.signed(Commit, round) is not None:
            continue
        prepares = core.prepares_of(round, own.hash)
        if len(prepares) >= quorum(n):
            lock = Lock(1, round, own.hash, prepares)
            persist(core, [LockRecord(0, lock, n), VoteRecord(0, Commit(1, round, own.hash))])


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_story_goes_as_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_promise = "rule abandon-round off" in path.read_text()
    if without_promise:
        monkeypatch.setattr(LogState, "_fault_here", naive_fault)
        monkeypatch.setattr(voting, "try_commit", naive_commit)
    Script(abandon_round_off=without_promise).run(path)


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 33


def test_a_wrong_expectation_fails_with_its_line(tmp_path: Path) -> None:
    story = tmp_path / "wrong.txt"
    story.write_text("validators A B C D\nstart A B C D\nexpect A round 7\n")
    with pytest.raises(ScenarioFailed, match=r"wrong.txt:3: expect A round 7: A is in round 0"):
        Script().run(story)
