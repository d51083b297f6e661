"""Key files: private, complete or absent, never overwritten."""

import os
import stat
from pathlib import Path

import pytest
from nacl.bindings import crypto_scalarmult_base

from ledger.errors import OperatorError
from ledger.signing import public_key, sign, verify
from node.keys import (
    KeyKind,
    create_node_keys,
    generate,
    key_path,
    list_keys,
    load_node_keys,
    pair_of,
    read_key,
    render_key,
    write_key,
)
from node.private_file import FILE_BYTES_MAX


def code_of(path: Path, kind: KeyKind | None = None) -> str:
    with pytest.raises(OperatorError) as caught:
        read_key(path, kind)
    return caught.value.code


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("kind", list(KeyKind))
def test_a_key_is_read_back_as_it_was_written(tmp_path: Path, kind: KeyKind) -> None:
    pair = generate(kind)
    path = key_path(tmp_path / "keys", kind)
    write_key(path, pair)
    assert read_key(path, kind) == pair
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_signing_keys_sign_and_node_keys_are_x25519() -> None:
    pair = generate(KeyKind.VALIDATOR)
    assert verify(pair.public, b"message", sign(pair.secret, b"message"))
    node = generate(KeyKind.NODE)
    assert node.public == crypto_scalarmult_base(node.secret) != public_key(node.secret)


def test_an_existing_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "validator.key"
    pair = generate(KeyKind.VALIDATOR)
    write_key(path, pair)
    with pytest.raises(OperatorError) as caught:
        write_key(path, generate(KeyKind.VALIDATOR))
    assert caught.value.code == "KEY_EXISTS"
    assert read_key(path) == pair
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_key_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OperatorError) as caught:
        write_key(tmp_path / "file" / "x.key", generate(KeyKind.NODE))
    assert caught.value.code in ("KEY_UNWRITABLE", "KEY_EXISTS")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o666])
def test_a_key_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "a.key", render_key(generate(KeyKind.NODE)), mode)
    assert code_of(path) == "KEY_EXPOSED"
    path.chmod(0o400)
    read_key(path)


def test_a_key_serves_one_purpose(tmp_path: Path) -> None:
    path = written(tmp_path / "a.key", render_key(generate(KeyKind.BEACON)))
    assert code_of(path, KeyKind.VALIDATOR) == "KEY_WRONG_KIND"


def test_a_missing_key_says_so(tmp_path: Path) -> None:
    assert code_of(tmp_path / "a.key") == "KEY_MISSING"
    (tmp_path / "b.key").mkdir(mode=0o700)
    assert code_of(tmp_path / "b.key") == "KEY_MALFORMED"


GOOD = render_key(pair_of(KeyKind.VALIDATOR, bytes(range(32))))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version = 1", "version = 2"),
        ('kind = "validator"', 'kind = "emperor"'),
        ('kind = "validator"', "kind = [1]"),
        ('algorithm = "ed25519"', 'algorithm = "x25519"'),
        ('secret = "000102', 'secret = "010102'),
        ('secret = "0001', 'secret = "'),
        ('secret = "00', 'secret = "zz'),
        ('public = "', 'public = "00'),
        ('public = "', 'other = "'),
        ("version = 1", "version = 1\nmore = 1"),
        ("version = 1", "version = "),
        ("version = 1", "# " + "x" * FILE_BYTES_MAX),
    ],
)
def test_a_damaged_file_is_refused_without_showing_the_secret(tmp_path: Path, old: str, new: str) -> None:
    assert old in GOOD
    path = written(tmp_path / "a.key", GOOD.replace(old, new))
    with pytest.raises(OperatorError) as caught:
        read_key(path)
    assert caught.value.code == "KEY_MALFORMED"
    assert bytes(range(32)).hex()[8:] not in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    path.write_bytes(b"\xff\xfe")
    path.chmod(0o600)
    assert code_of(path) == "KEY_MALFORMED"


def test_an_unknown_protection_is_refused_by_name(tmp_path: Path) -> None:
    path = written(tmp_path / "a.key", GOOD.replace('protection = "none"', 'protection = "rot13"'))
    assert code_of(path) == "KEY_PROTECTED"


def test_the_secret_is_not_in_the_repr() -> None:
    pair = generate(KeyKind.VALIDATOR)
    assert pair.secret.hex() not in repr(pair)
    assert repr(pair.secret) not in repr(pair)


def test_a_secret_has_32_bytes() -> None:
    for size in (31, 33):
        with pytest.raises(ValueError, match="32 bytes"):
            pair_of(KeyKind.NODE, bytes(size))


def test_creating_a_nodes_keys_is_idempotent(tmp_path: Path) -> None:
    assert create_node_keys(tmp_path) == {KeyKind.VALIDATOR: True, KeyKind.BEACON: True, KeyKind.NODE: True}
    keys = load_node_keys(tmp_path)
    assert create_node_keys(tmp_path) == {KeyKind.VALIDATOR: False, KeyKind.BEACON: False, KeyKind.NODE: False}
    assert load_node_keys(tmp_path) == keys
    assert keys.validator is not None
    assert keys.beacon is not None
    assert len({keys.validator.secret, keys.beacon.secret, keys.node.secret}) == 3


def test_an_observer_has_a_node_key_only(tmp_path: Path) -> None:
    assert create_node_keys(tmp_path, observer=True) == {KeyKind.NODE: True}
    keys = load_node_keys(tmp_path)
    assert (keys.validator, keys.beacon) == (None, None)
    create_node_keys(tmp_path)
    assert load_node_keys(tmp_path, observer=True).validator is None
    assert load_node_keys(tmp_path).validator is not None


def test_half_a_validator_is_an_error(tmp_path: Path) -> None:
    create_node_keys(tmp_path)
    key_path(tmp_path, KeyKind.BEACON).unlink()
    with pytest.raises(OperatorError) as caught:
        load_node_keys(tmp_path)
    assert caught.value.code == "KEY_MISSING"


def test_validator_and_beacon_must_not_share_a_secret(tmp_path: Path) -> None:
    write_key(key_path(tmp_path, KeyKind.NODE), generate(KeyKind.NODE))
    write_key(key_path(tmp_path, KeyKind.VALIDATOR), pair_of(KeyKind.VALIDATOR, bytes(32)))
    write_key(key_path(tmp_path, KeyKind.BEACON), pair_of(KeyKind.BEACON, bytes(32)))
    with pytest.raises(OperatorError) as caught:
        load_node_keys(tmp_path)
    assert caught.value.code == "KEYS_SHARED"


def test_a_keystore_lists_its_keys_by_name(tmp_path: Path) -> None:
    assert list_keys(tmp_path / "none") == []
    for name in ("platform", "bank"):
        write_key(key_path(tmp_path, KeyKind.ORGANISATION, name), generate(KeyKind.ORGANISATION))
    (tmp_path / ".half.key").write_text("left by a crash")
    (tmp_path / "readme.txt").write_text("not a key")
    assert [path.name for path, _ in list_keys(tmp_path)] == ["bank.key", "platform.key"]


def test_the_file_is_synced_before_its_name_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real_fsync, real_link = os.fsync, os.link

    def fsync(descriptor: int) -> None:
        order.append("fsync")
        real_fsync(descriptor)

    def link(source: Path, target: Path) -> None:
        order.append("link")
        real_link(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    write_key(tmp_path / "a.key", generate(KeyKind.NODE))
    assert order == ["fsync", "link", "fsync"]
