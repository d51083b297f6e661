"""Processes and ports of a local network: ours are ended for certain, strangers never touched."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from cli.ports import HOST, hold_ports
from cli.processes import ProcessId, end, identify, is_running, kill, wait_ended

STUBBORN = (
    "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); sys.stdin.read()"
)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()
        process.wait()


def test_a_process_is_named_by_its_id_and_its_start(child: subprocess.Popen[bytes]) -> None:
    found = identify(child.pid)
    assert found is not None
    assert is_running(found)
    assert not is_running(ProcessId(found.pid, found.started + 1)), "another process with the same id is a stranger"


def test_end_stops_ours_and_is_idempotent(child: subprocess.Popen[bytes]) -> None:
    found = identify(child.pid)
    assert found is not None
    end([found])
    assert not is_running(found)
    end([found])


def test_end_leaves_a_stranger_with_the_same_id_alone(child: subprocess.Popen[bytes]) -> None:
    found = identify(child.pid)
    assert found is not None
    end([ProcessId(found.pid, found.started - 1)])
    assert is_running(found)


def test_kill_is_at_once(child: subprocess.Popen[bytes]) -> None:
    found = identify(child.pid)
    assert found is not None
    os.kill(child.pid, signal.SIGSTOP)
    kill(found)
    assert not is_running(found)


def test_a_process_that_ignores_the_request_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.processes.END_SECONDS", 0.2)
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = identify(process.pid)
        assert found is not None
        end([found])
        assert not is_running(found)


def test_waiting_for_the_dead_returns_at_once() -> None:
    assert wait_ended([ProcessId(2**22 - 1, 1)], 5) == []


def test_ports_are_free_different_held_and_below_the_ephemeral_ones() -> None:
    with hold_ports(20) as ports:
        assert len(set(ports)) == 20
        with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
            low = int(file.read().split()[0])
        assert low <= 21_000 or all(port < low for port in ports)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((HOST, ports[0]))
    with socket.socket() as other:
        other.bind((HOST, ports[0]))
