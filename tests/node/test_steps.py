"""Steps are exclusive of each other and add up; a transaction is decoded once, whoever asks first."""

import pytest

from ledger.errors import TransactionRejected
from ledger.transactions import transaction_id
from node.decoded import KEPT_MAX, Decoder
from node.steps import STEPS, Steps
from tests.node.test_admission import signed


class Cpu:
    def __init__(self) -> None:
        self.s = 10.0

    def __call__(self) -> float:
        return self.s


def test_a_step_inside_another_is_charged_to_the_inner_one_alone() -> None:
    cpu = Cpu()
    steps = Steps(cpu)
    cpu.s += 100  # in no step
    with steps.of("receive"):
        cpu.s += 1
        with steps.of("gossip"):
            cpu.s += 2
            with steps.of("receive"):
                cpu.s += 4
        cpu.s += 8
    cpu.s += 100
    assert steps.seconds == {"receive": 13, "gossip": 2}


def test_a_step_that_fails_is_charged_and_left() -> None:
    cpu = Cpu()
    steps = Steps(cpu)
    with pytest.raises(ValueError, match="x"), steps.of("check"):
        cpu.s += 3
        raise ValueError("x")
    cpu.s += 100
    with steps.of("send"):
        cpu.s += 1
    assert steps.seconds == {"check": 3, "send": 1}


def test_only_the_steps_of_the_table_exist() -> None:
    assert len(set(STEPS)) == len(STEPS)
    with pytest.raises(KeyError):
        Steps().of("other")


def test_a_transaction_is_decoded_once_and_what_is_refused_is_not_kept() -> None:
    steps = Steps()
    decoder = Decoder(steps)
    raw = signed(1)
    first = decoder.decode(transaction_id(raw), raw)
    assert decoder.decode(transaction_id(raw), raw) is first
    assert steps.work["decode"] == 1
    for _ in range(2):
        with pytest.raises(TransactionRejected):
            decoder.decode(transaction_id(b"junk"), b"junk")
    assert steps.work["decode"] == 3


def test_the_newest_are_kept_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert KEPT_MAX >= 4_096
    monkeypatch.setattr("node.decoded.KEPT_MAX", 2)
    steps = Steps()
    decoder = Decoder(steps)
    raws = [signed(number) for number in range(3)]
    for raw in (*raws, *raws[1:], raws[0]):
        decoder.decode(transaction_id(raw), raw)
    assert steps.work["decode"] == 4
