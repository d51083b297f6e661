"""The remote signer: a network votes through it, it refuses what the rules refuse, and its loss ends the node."""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.effects import SignRequest
from consensus.log import START, Position, decode_log
from consensus.records import RecoveredRecord, VoteRecord
from ledger.codec import decode, encode
from ledger.errors import InvariantViolation, MalformedBytes, OperatorError
from ledger.recovery import with_signature
from ledger.signing import verify
from ledger.transactions import AdvanceClock
from ledger.votes import Prepare
from node import recover
from node.config import Config, LogSection, load
from node.files import SystemFiles
from node.keys import KeyKind, create_next_keys, key_path, load_node_keys
from node.logs import NodeLog
from node.opening import DATABASE_DIRECTORY
from node.resume import view_of
from node.signer import remote
from node.signer.remote import RemoteSigner, open_remote
from node.signer.server import Signer
from node.signer.wire import FRAME_BYTES_MAX, LENGTH, Answer, Ask, frame_length, framed
from node.storage import open_store
from node.votelog import LOG_FILE
from tests.node.network import Network, running

NAME = "bank"
DAY_MS = 86_400_000


@contextmanager
def serving(config: Config, path: Path, files: SystemFiles | None = None) -> Iterator[None]:
    """A signer in a thread with an event loop of its own, as if it were another process."""
    log = NodeLog(LogSection(level="error"), None)
    up, loops = threading.Event(), list[tuple[asyncio.AbstractEventLoop, Signer]]()

    async def serve() -> None:
        server = Signer(config, log.log, files=files)
        loops.append((asyncio.get_running_loop(), server))
        await server.serve(path, up.set)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert up.wait(10)
        yield
    finally:
        loop, server = loops[0]
        loop.call_soon_threadsafe(server.stop)
        thread.join(10)
        assert not thread.is_alive()


class Reports:
    """What the signer reported; the callbacks run in the listening thread here."""

    def __init__(self, signer: RemoteSigner) -> None:
        self.durable = threading.Semaphore(0)
        self.positions: list[Position] = []
        self.errors: list[OperatorError] = []
        self.failed = threading.Event()
        signer.start(lambda work: work(), self._durable, self._stalled)

    def _durable(self, position: Position) -> None:
        self.positions.append(position)
        self.durable.release()

    def _stalled(self, error: OperatorError) -> None:
        self.errors.append(error)
        self.failed.set()


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network(tmp_path / "network", observers=0)


@pytest.fixture
def home(network: Network) -> Config:
    return load(network.members[NAME].home, environ={})


@contextmanager
def session(network: Network, home: Config, path: Path) -> Iterator[tuple[RemoteSigner, Reports]]:
    with serving(home, path):
        signer, _ = open_remote(path, chain_id=network.genesis.chain_id, known=START)
        reports = Reports(signer)
        try:
            yield signer, reports
        finally:
            signer.close()


def keys_of(network: Network) -> tuple[bytes, ...]:
    return tuple(entry.validator_key for entry in network.genesis.validators())


def set_apart(network: Network, apart: Path, path: Path) -> Path:
    """Another home for the node, whose keys and record a signer on ``path`` holds."""
    member = network.members[NAME]
    (apart / "keys").mkdir(parents=True)
    (apart / "data").mkdir()
    for name in ("config.toml", "genesis.toml", "genesis.sigs", "keys/node.key"):
        (apart / name).write_bytes((member.home / name).read_bytes())
        (apart / name).chmod(0o600)
    text = (apart / "config.toml").read_text()
    assert '#socket = ""' in text
    (apart / "config.toml").write_text(text.replace('#socket = ""', f'socket = "{path}"'))
    member.home = apart
    return apart


@pytest.mark.asyncio
async def test_a_network_votes_through_a_signer_and_takes_its_record_up_again(
    tmp_path: Path, network: Network, home: Config
) -> None:
    path = tmp_path / "signer.sock"
    apart = set_apart(network, tmp_path / "node", path)
    key_path(home.keys_path, KeyKind.NODE).unlink()  # a signer speaks to nobody but its node
    clock_ms = network.genesis.values.clock_start_ms
    with serving(home, path):
        for day in (1, 2):
            async with running(network, NAME, "platform", "firm-a") as live:  # no quorum without the signer
                await live.until(lambda node: node.driver.signing)
                height = live.nodes[NAME].chain.height
                await live.submit("platform", ("clock", AdvanceClock(clock_ms + day * DAY_MS)))
                await live.until_height(height + 1)
    assert not (apart / "data" / LOG_FILE).exists()
    assert not key_path(apart / "keys", KeyKind.VALIDATOR).exists()
    votes = [r for r in decode_log((home.data_path / LOG_FILE).read_bytes()).records if isinstance(r, VoteRecord)]
    assert len({vote.message.height for vote in votes}) >= 2


def test_a_signature_is_given_only_after_its_intent_is_durable(tmp_path: Path, network: Network, home: Config) -> None:
    with session(network, home, tmp_path / "s") as (signer, reports):
        signer.begin(0, 1, keys_of(network))
        message = Prepare(1, 0, bytes(32))
        position = signer.append([VoteRecord(0, message)])
        assert reports.durable.acquire(timeout=10)
        assert reports.positions[0].sequence == position.sequence
        assert signer.durable == reports.positions[0]
        assert len(signer.sign(SignRequest(0, message, signer.keys[0]))) == 64
        assert len(signer.beacon_proof(b"alpha")) == 80


@pytest.mark.parametrize("message", [Prepare(1, 0, b"\x01" * 32), Prepare(2, 0, bytes(32))])
def test_what_the_rules_forbid_is_refused_and_ends_the_session(
    tmp_path: Path, network: Network, home: Config, message: Prepare
) -> None:
    with session(network, home, tmp_path / "s") as (signer, reports):
        signer.begin(0, 1, keys_of(network))
        signer.append([VoteRecord(0, Prepare(1, 0, bytes(32)))])
        assert reports.durable.acquire(timeout=10)
        with pytest.raises(InvariantViolation, match="refuses"):
            signer.sign(SignRequest(0, message, signer.keys[0]))
        assert reports.failed.wait(10)
        assert reports.errors[0].code == "SIGNER_LOST"


def test_a_session_sees_what_the_one_before_signed(tmp_path: Path, network: Network, home: Config) -> None:
    path, vote = tmp_path / "s", VoteRecord(0, Prepare(1, 0, bytes(32)))
    with session(network, home, path) as (signer, reports):
        signer.append([vote])
        assert reports.durable.acquire(timeout=10)
        known = reports.positions[-1]
    with serving(home, path):
        signer, records = open_remote(path, chain_id=network.genesis.chain_id, known=known)
        signer.close()
    assert vote in records


def code_of_open(network: Network, path: Path, known: Position = START, chain_id: bytes | None = None) -> str:
    with pytest.raises(OperatorError) as caught:
        open_remote(path, chain_id=chain_id or network.genesis.chain_id, known=known)
    return caught.value.code


def test_a_second_node_another_chain_and_a_rolled_back_record_are_refused(
    tmp_path: Path, network: Network, home: Config
) -> None:
    path = tmp_path / "s"
    with session(network, home, path):
        assert code_of_open(network, path) == "SIGNER_BUSY"
    with serving(home, path):
        assert code_of_open(network, path, chain_id=bytes(32)) == "LOG_FOREIGN"
        assert code_of_open(network, path, known=Position(9, 9)) == "LOG_ROLLED_BACK"
    assert code_of_open(network, path) == "SIGNER_LOST"


def test_a_signer_that_goes_away_is_reported_and_nothing_more_is_signed(
    tmp_path: Path, network: Network, home: Config
) -> None:
    path = tmp_path / "s"
    with serving(home, path):
        signer, _ = open_remote(path, chain_id=network.genesis.chain_id, known=START)
        reports = Reports(signer)
    assert reports.failed.wait(10)
    assert reports.errors[0].code == "SIGNER_LOST"
    with pytest.raises(OperatorError) as caught:
        signer.beacon_proof(b"alpha")
    assert (caught.value.code, caught.value.exit_code) == ("SIGNER_LOST", 4)
    signer.close()


def test_a_signer_that_does_not_answer_in_time_is_lost(
    tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "OPENING_S", 0.05)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()
        assert code_of_open(network, tmp_path / "s") == "SIGNER_LOST"


@pytest.mark.parametrize("rubbish", [b"\xff" * 8, LENGTH.pack(3) + b"abc", LENGTH.pack(FRAME_BYTES_MAX + 1)])
def test_rubbish_ends_its_own_session_only(tmp_path: Path, network: Network, home: Config, rubbish: bytes) -> None:
    path = tmp_path / "s"
    with serving(home, path):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(path))
            stranger.sendall(rubbish)
            stranger.settimeout(10)
            assert stranger.recv(100) == b""
        signer, _ = open_remote(path, chain_id=network.genesis.chain_id, known=START)
        signer.close()


def test_an_observers_home_is_no_signer(home: Config) -> None:
    for kind in (KeyKind.VALIDATOR, KeyKind.BEACON):
        key_path(home.keys_path, kind).unlink()
    with pytest.raises(OperatorError) as caught:
        Signer(home, NodeLog(LogSection(level="error"), None).log)
    assert caught.value.code == "NOT_A_VALIDATOR"


class FullOnce(SystemFiles):
    """The first write after the start finds no room."""

    def __init__(self) -> None:
        self.full = True

    def write(self, descriptor: int, data: bytes) -> None:
        if self.full:
            self.full = False
            raise OSError(28, "No space left on device")
        super().write(descriptor, data)


def test_a_full_disk_over_there_is_told_and_retried(tmp_path: Path, network: Network, home: Config) -> None:
    path = tmp_path / "s"
    with serving(home, path, FullOnce()):
        signer, _ = open_remote(path, chain_id=network.genesis.chain_id, known=START)
        reports = Reports(signer)
        signer.append([VoteRecord(0, Prepare(1, 0, bytes(32)))])
        assert reports.failed.wait(10)
        assert (reports.errors[0].code, reports.positions) == ("DISK_FULL", [])
        signer.retry()
        assert reports.durable.acquire(timeout=10)
        signer.close()


@given(raw=st.binary(max_size=80))
@settings(max_examples=200)
def test_every_frame_decodes_to_itself_or_is_malformed(raw: bytes) -> None:
    for kind in (Ask, Answer):
        try:
            value = decode(kind, raw, bytes_max=80)
        except MalformedBytes:
            continue
        assert encode(value) == raw


def test_a_frame_is_at_most_256_mib() -> None:
    assert frame_length(struct.pack(">I", FRAME_BYTES_MAX)) == FRAME_BYTES_MAX
    with pytest.raises(MalformedBytes):
        frame_length(struct.pack(">I", FRAME_BYTES_MAX + 1))
    assert framed(b"abc") == b"\x00\x00\x00\x03abc"


def test_the_keys_of_the_signer_are_those_of_its_home(tmp_path: Path, network: Network, home: Config) -> None:
    validator = load_node_keys(home.keys_path).validator
    with session(network, home, tmp_path / "s") as (signer, _):
        assert validator is not None
        assert signer.keys == (validator.public,)


def test_around_a_rotation_the_signer_offers_both_keys_and_signs_with_either(
    tmp_path: Path, network: Network, home: Config
) -> None:
    following = create_next_keys(home.keys_path)[KeyKind.VALIDATOR].public
    with session(network, home, tmp_path / "s") as (signer, reports):
        assert signer.keys[1:] == (following,)
        signer.begin(0, 1, keys_of(network))
        message = Prepare(1, 0, bytes(32))
        signer.append([VoteRecord(0, message)])
        assert reports.durable.acquire(timeout=10)
        digest = message.signing_digest(network.genesis.chain_id, 0)
        for key in signer.keys:
            assert verify(key, digest, signer.sign(SignRequest(0, message, key)))


@pytest.mark.asyncio
async def test_a_recovery_is_written_into_the_signers_record_before_the_nodes_database(
    tmp_path: Path, network: Network, home: Config
) -> None:
    path = tmp_path / "signer.sock"
    apart = load(set_apart(network, tmp_path / "node", path), environ={})
    with serving(home, path):
        async with running(network) as live:
            await live.until(lambda node: node.driver.signing)
            await live.submit("platform", ("clock", AdvanceClock(network.genesis.values.clock_start_ms + DAY_MS)))
            await live.until_height(1)
    record = recover.draft(apart, [0, 1, 2, 3], [])
    unsigned = RecoveredRecord(record, network.genesis.validators())
    for name in ("platform", "firm-a", "firm-b"):
        record = with_signature(record, network.keys[name].secret)
    with pytest.raises(OperatorError) as caught:
        recover.apply(apart, record)
    assert caught.value.code == "SIGNER_LOST"
    assert not recover.judge(apart, record).applied, "without the signer nothing was written"

    def held() -> list[RecoveredRecord]:
        records = decode_log((home.data_path / LOG_FILE).read_bytes()).records
        return [item for item in records if isinstance(item, RecoveredRecord)]

    with serving(home, path):
        store = open_store(apart.data_path / DATABASE_DIRECTORY, create=False, chain_id=network.genesis.chain_id)
        _, known = view_of(store, network.genesis)
        store.close()
        signer, _ = open_remote(path, chain_id=network.genesis.chain_id, known=known)
        with pytest.raises(OperatorError, match="signer"):
            signer.append_now([unsigned])
        signer.close()
        assert held() == [], "a record that nobody signed is not even written"
        for _ in range(2):
            assert recover.apply(apart, record).standing.enough
        assert held() == [RecoveredRecord(record, network.genesis.validators())]
        for name in ("platform", "firm-a", "firm-b"):
            recover.apply(load(network.members[name].home, environ={}), record)
        async with running(network) as live:
            await live.until(lambda node: node.driver.signing, timeout_s=30)
            await live.until_height(record.head_height + 1, timeout_s=30)
            assert {node.chain.epoch for node in live.nodes.values()} == {1}
