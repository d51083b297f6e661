"""A validator moves: one home retires before the parcel exists, one home can open it, once, with the whole record."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from consensus.log import decode_log
from ledger.errors import OperatorError
from ledger.transactions import AdvanceClock
from node import moving
from node.app import Node
from node.config import Config, load
from node.files import SystemFiles
from node.founding import read_signed_genesis
from node.keys import (
    NODE_KINDS,
    KeyKind,
    KeyPair,
    create_next_keys,
    generate,
    key_path,
    load_node_keys,
    read_key,
    write_key,
)
from node.moving import PARCEL_MAGIC, RETIRED_LOG, export_validator, import_validator, request_move
from node.private_file import MOVED_FILE
from node.votelog import LOCK_FILE, LOG_FILE, open_log
from tests.node.network import Network, running

DAY_MS = 86_400_000


def code_of(act: Callable[[], object]) -> str:
    with pytest.raises(OperatorError) as caught:
        act()
    return caught.value.code


@pytest.fixture
def old(tmp_path: Path) -> Config:
    """A validator's home with keys, genesis and record."""
    return load(Network(tmp_path, observers=0).members["bank"].home, environ={})


def test_keys_genesis_and_the_whole_record_arrive(tmp_path: Path, old: Config) -> None:
    keys, record = load_node_keys(old.keys_path), (old.data_path / LOG_FILE).read_bytes()
    genesis = read_signed_genesis(old.genesis_path)
    export_validator(old, request_move(tmp_path / "new"), tmp_path / "parcel")
    new = import_validator(tmp_path / "new", (tmp_path / "parcel").read_bytes())
    assert load_node_keys(new.keys_path) == keys
    assert (new.data_path / LOG_FILE).read_bytes() == record
    assert new.genesis_path.read_bytes() == genesis.raw
    end = decode_log(record).end
    log, decoded = open_log(new.data_path, chain_id=genesis.chain_id, known=end)
    log.close()
    assert len(decoded.records) == 1


def test_the_old_home_never_starts_again_and_holds_no_secret(tmp_path: Path, old: Config) -> None:
    record = (old.data_path / LOG_FILE).read_bytes()
    export_validator(old, request_move(tmp_path / "new"), tmp_path / "parcel")
    assert code_of(lambda: load_node_keys(old.keys_path)) == "KEY_MOVED"
    assert not any(key_path(old.keys_path, kind).exists() for kind in NODE_KINDS)
    assert (old.data_path / RETIRED_LOG).read_bytes() == record


def test_a_parcel_opens_once(tmp_path: Path, old: Config) -> None:
    export_validator(old, request_move(tmp_path / "new"), tmp_path / "parcel")
    sealed = (tmp_path / "parcel").read_bytes()
    import_validator(tmp_path / "new", sealed)
    assert code_of(lambda: import_validator(tmp_path / "new", sealed)) == "MOVE_NOT_ASKED"
    assert code_of(lambda: import_validator(tmp_path / "third", sealed)) == "MOVE_NOT_ASKED"


def test_a_parcel_opens_only_in_the_home_that_asked(tmp_path: Path, old: Config) -> None:
    request_move(tmp_path / "other")
    export_validator(old, request_move(tmp_path / "new"), tmp_path / "parcel")
    assert code_of(lambda: import_validator(tmp_path / "other", (tmp_path / "parcel").read_bytes())) == "MOVE_SEALED"


@pytest.mark.parametrize("at", [len(PARCEL_MAGIC), len(PARCEL_MAGIC) + 40, -1])
def test_an_altered_byte_refuses_the_parcel_whole(tmp_path: Path, old: Config, at: int) -> None:
    export_validator(old, request_move(tmp_path / "new"), tmp_path / "parcel")
    sealed = bytearray((tmp_path / "parcel").read_bytes())
    sealed[at] ^= 1
    assert code_of(lambda: import_validator(tmp_path / "new", bytes(sealed))) == "MOVE_SEALED"
    assert not (load(tmp_path / "new").data_path / LOG_FILE).exists()


@pytest.mark.parametrize("raw", [b"", b"{}", b"[1]", b'{"public": "00"}', b'{"kind": "huzhu move request"}', b"\xff"])
def test_a_request_that_is_none_is_refused_before_anything_is_retired(tmp_path: Path, old: Config, raw: bytes) -> None:
    assert code_of(lambda: export_validator(old, raw, tmp_path / "parcel")) == "MOVE_MALFORMED"
    assert load_node_keys(old.keys_path).validator is not None


def test_a_running_node_is_not_moved(tmp_path: Path, old: Config) -> None:
    files = SystemFiles()
    lock = files.lock(old.data_path / LOCK_FILE)
    assert code_of(lambda: export_validator(old, request_move(tmp_path / "new"), tmp_path / "parcel")) == "LOG_LOCKED"
    files.close(lock)
    assert not (old.keys_path / MOVED_FILE).exists()


def test_a_validator_whose_keys_are_being_rotated_does_not_move(tmp_path: Path, old: Config) -> None:
    create_next_keys(old.keys_path)
    request = request_move(tmp_path / "new")
    assert code_of(lambda: export_validator(old, request, tmp_path / "parcel")) == "MOVE_ROTATING"
    assert load_node_keys(old.keys_path).validator is not None


def test_asking_again_gives_the_same_request(tmp_path: Path) -> None:
    assert request_move(tmp_path / "new") == request_move(tmp_path / "new")


def test_a_home_with_keys_takes_no_other_validator(tmp_path: Path, old: Config) -> None:
    assert code_of(lambda: request_move(old.home)) == "MOVE_OCCUPIED"
    request = request_move(tmp_path / "new")
    write_key(key_path(load(tmp_path / "new").keys_path, KeyKind.BEACON), generate(KeyKind.BEACON))
    export_validator(old, request, tmp_path / "parcel")
    assert code_of(lambda: import_validator(tmp_path / "new", (tmp_path / "parcel").read_bytes())) == "MOVE_OCCUPIED"


class PowerCutError(Exception):
    pass


def test_an_export_that_was_cut_off_finishes_to_the_same_machine_only(
    tmp_path: Path, old: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut at each step that writes: before the parcel, before the record is set aside, at each key removed."""
    request = request_move(tmp_path / "new")
    for cut in ("_write_parcel", "fsync_directory", "remove"):
        with monkeypatch.context() as patch:
            if cut == "_write_parcel":
                patch.setattr(moving, cut, _cut)
                files = SystemFiles()
            else:
                files = SystemFiles()
                patch.setattr(SystemFiles, cut, _cut)
            with pytest.raises(PowerCutError):
                export_validator(old, request, tmp_path / "parcel", files)
        assert code_of(lambda: load_node_keys(old.keys_path)) == "KEY_MOVED", cut
        other = request_move(tmp_path / f"other {cut}")
        assert code_of(partial(export_validator, old, other, tmp_path / "parcel 2")) == "MOVE_BEGUN"
    export_validator(old, request, tmp_path / "parcel")
    assert load_node_keys(import_validator(tmp_path / "new", (tmp_path / "parcel").read_bytes()).keys_path).validator


def _cut(*_: object, **__: object) -> None:
    raise PowerCutError


def test_an_import_that_was_cut_off_at_any_write_finishes(
    tmp_path: Path, old: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = load_node_keys(old.keys_path)
    export_validator(old, request_move(tmp_path / "new"), tmp_path / "parcel")
    sealed = (tmp_path / "parcel").read_bytes()
    for allowed in range(5):
        with monkeypatch.context() as patch:
            patch.setattr(moving, "write_key", partial(_cut_after, iter(range(allowed))))
            patch.setattr(SystemFiles, "remove", _cut_at_move_key)
            with pytest.raises(PowerCutError):
                import_validator(tmp_path / "new", sealed)
    new = import_validator(tmp_path / "new", sealed)
    assert load_node_keys(new.keys_path) == keys
    assert not key_path(new.keys_path, KeyKind.MOVE).exists()


def _cut_after(allowed: Iterator[int], path: Path, pair: KeyPair, passphrase: bytes | None) -> None:
    if next(allowed, None) is None:
        raise PowerCutError
    write_key(path, pair, passphrase)


def _cut_at_move_key(self: SystemFiles, path: Path) -> None:
    if path.name == "move.key":
        raise PowerCutError
    path.unlink(missing_ok=True)


def test_the_moved_keys_are_encrypted_when_asked(tmp_path: Path, old: Config) -> None:
    export_validator(old, request_move(tmp_path / "new"), tmp_path / "parcel")
    new = import_validator(tmp_path / "new", (tmp_path / "parcel").read_bytes(), b"right")
    path = key_path(new.keys_path, KeyKind.VALIDATOR)
    assert read_key(path, KeyKind.VALIDATOR, lambda _: b"right").secret.hex() not in path.read_text()


@pytest.mark.asyncio
async def test_a_moved_validator_votes_from_its_new_home_and_the_old_one_does_not_start(tmp_path: Path) -> None:
    network = Network(tmp_path / "network", observers=0)
    member, new_home = network.members["bank"], tmp_path / "new"
    clock_ms = network.genesis.values.clock_start_ms + DAY_MS
    request = request_move(new_home)
    async with running(network) as live:
        await live.submit("platform", ("clock", AdvanceClock(clock_ms)))
        await live.until_height(1)
        await live.stop("bank")
    aside = export_validator(load(member.home, environ={}), request, tmp_path / "parcel")
    signed = decode_log(aside.read_bytes()).records
    assert len(signed) > 1
    import_validator(new_home, (tmp_path / "parcel").read_bytes())
    (new_home / "config.toml").write_bytes((member.home / "config.toml").read_bytes())
    with pytest.raises(OperatorError, match="moved to another machine"):
        Node(load(member.home, environ={}))
    member.home = new_home
    async with running(network, "bank", "platform", "firm-a") as live:  # a quorum only with the one that moved
        await live.until(lambda node: node.driver.signing)
        height = live.nodes["platform"].chain.height
        await live.submit("platform", ("clock", AdvanceClock(clock_ms + DAY_MS)))
        await live.until_height(height + 1)
    records = decode_log((new_home / "data" / LOG_FILE).read_bytes()).records
    assert records[: len(signed)] == signed
    assert len(records) > len(signed)
