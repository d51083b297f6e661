"""The answers are the slow reference's, and whoever gives another one, or none, is found out."""

from pathlib import Path

import pytest

from ledger.errors import OperatorError
from node import known_answers, verify_worker
from node.app import Node
from node.config import Config, load
from node.doctor import examine
from node.known_answers import KNOWN, check_rule, check_worker
from tests.node.network import Network
from tests.reference import ed25519 as reference


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.what)
def test_each_answer_is_the_references(known: known_answers.Known) -> None:
    assert reference.is_valid(known.key, known.digest, known.signature) is known.valid


def test_this_process_and_a_worker_give_them() -> None:
    check_rule()
    check_worker()


@pytest.mark.parametrize("number", range(len(KNOWN)))
def test_a_library_that_differs_in_one_answer_stops_the_start(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    signatures = {known.signature: known.valid for known in KNOWN}
    signatures[KNOWN[number].signature] ^= True
    monkeypatch.setattr(known_answers, "is_valid", lambda key, digest, signature: signatures[signature])
    with pytest.raises(OperatorError) as raised:
        check_rule()
    assert raised.value.code == "SIGNATURE_RULE"
    assert KNOWN[number].what in raised.value.why


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load(Network(tmp_path, observers=0).members["bank"].home, {}, environ={})


def _worker(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let the verifier process be this program instead."""
    monkeypatch.setattr(verify_worker, "command", lambda python: (python, "-I", "-c", code))


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import no_such_library", "exit status 1, ModuleNotFoundError: No module named 'no_such_library'"),
        ("", "exit status 0"),
        ("import sys; sys.stdin.buffer.read(); sys.stdout.write('x' * 31)", "exit status 0"),
        ("import sys; sys.stdout.buffer.write(bytes(32)); sys.stdout.flush(); sys.exit(1)", "exit status 1"),
        ("import time; time.sleep(60)", "no answer within 1 s"),
    ],
    ids=["library missing", "ends at once", "answers too little", "breaks down", "hangs"],
)
def test_a_worker_that_does_not_answer_is_told(code: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _worker(monkeypatch, code)
    with pytest.raises(OperatorError) as raised:
        check_worker(answer_s=1.0)
    assert (raised.value.code, raised.value.why) == ("VERIFIER_FAILED", why)


def test_a_python_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="No such file"):
        check_worker(str(tmp_path / "python"))


def test_a_worker_that_judges_otherwise_is_told_by_the_doctor(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    _worker(monkeypatch, "import sys; sys.stdin.buffer.read(); sys.stdout.buffer.write(bytes(32))")
    assert "SIGNATURE_RULE" in [finding.code for finding in examine(config, with_indexes=False)]
    monkeypatch.setattr(known_answers, "is_valid", lambda *signed: True)
    _worker(monkeypatch, "import no_such_library")
    assert "SIGNATURE_RULE" in [finding.code for finding in examine(config, with_indexes=False)]
    monkeypatch.undo()
    _worker(monkeypatch, "import no_such_library")
    assert "VERIFIER_FAILED" in [finding.code for finding in examine(config, with_indexes=False)]


def test_a_node_whose_library_differs_does_not_start(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_answers, "is_valid", lambda *signed: True)
    with pytest.raises(OperatorError) as raised:
        Node(config)
    assert raised.value.code == "SIGNATURE_RULE"
