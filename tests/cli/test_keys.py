"""``huzhu keys``: made, listed, encrypted, and moved to another machine; what goes wrong says what to do."""

import json
from pathlib import Path

import pytest

from cli.tx import parse_json
from ledger.actions import Action, RotateValidator
from tests.node.network import Network
from tests.running import run


def result(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> dict[str, object]:
    assert run([*map(str, arguments), "--output", "json"]) == code
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def error(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> object:
    found = result(capsys, *arguments, code=code)["error"]
    assert isinstance(found, dict)
    return found["code"]


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_key_is_made_once_listed_encrypted_and_opened_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = result(capsys, "keys", "new", "organisation", "--name", "bank", "--dir", tmp_path)
    assert error(capsys, 3, "keys", "new", "organisation", "--name", "bank", "--dir", tmp_path) == "KEY_EXISTS"
    path, passphrase = tmp_path / "bank.key", private(tmp_path / "passphrase", "long enough\n")
    result(capsys, "keys", "protect", path, "--new-passphrase-file", passphrase)
    listed = result(capsys, "keys", "list", "--dir", tmp_path)["keys"]
    assert listed == [
        {
            "name": "bank",
            "kind": "organisation",
            "public": made["public"],
            "protection": "argon2id",
            "path": str(path),
        }
    ]
    assert error(capsys, 3, "keys", "protect", path, "--remove") == "PASSPHRASE_NEEDED"
    monkeypatch.setenv("HUZHU_PASSPHRASE_FILE", str(private(tmp_path / "wrong", "wrong")))
    assert error(capsys, 3, "keys", "protect", path, "--remove") == "KEY_LOCKED"
    monkeypatch.setenv("HUZHU_PASSPHRASE_FILE", str(passphrase))
    result(capsys, "keys", "protect", path, "--remove")
    assert 'protection = "none"' in path.read_text()


def test_a_home_is_made_with_encrypted_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUZHU_PASSPHRASE", "long enough")
    result(capsys, "init", "--home", tmp_path / "home", "--observer", "--encrypt")
    assert 'protection = "argon2id"' in (tmp_path / "home" / "keys" / "node.key").read_text()
    monkeypatch.delenv("HUZHU_PASSPHRASE")
    result(capsys, "init", "--home", tmp_path / "home", "--observer")  # keeps what is there, and asks for nothing


def test_a_validator_moves_in_three_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = Network(tmp_path / "network", observers=0).members["bank"].home
    new, request, parcel = tmp_path / "new", tmp_path / "request.json", tmp_path / "parcel"
    public = {item["kind"]: item["public"] for item in _listed(capsys, old)}
    result(capsys, "keys", "import", "--request", request, "--home", new)
    result(capsys, "keys", "export", parcel, "--to", request, "--home", old)
    moved = result(capsys, "keys", "import", parcel, "--home", new)
    assert {kind: moved[kind] for kind in public} == public
    assert error(capsys, 3, "start", "--home", old) == "KEY_MOVED"
    assert error(capsys, 3, "keys", "import", parcel, "--home", new) == "MOVE_NOT_ASKED"
    assert result(capsys, "start", "--home", new, "--check")["validator"] is True


def _listed(capsys: pytest.CaptureFixture[str], home: Path) -> list[dict[str, str]]:
    found = result(capsys, "keys", "list", "--dir", home / "keys")["keys"]
    assert isinstance(found, list)
    return found


def test_an_import_needs_either_a_request_or_a_parcel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert error(capsys, 2, "keys", "import", "--home", tmp_path / "new") == "USAGE"
    assert error(capsys, 2, "keys", "export", tmp_path / "x", "--to", tmp_path / "no", "--home", tmp_path) == "USAGE"
    junk = private(tmp_path / "junk", "{}")
    home = Network(tmp_path / "network", observers=0).members["bank"].home
    assert error(capsys, 3, "keys", "export", tmp_path / "x", "--to", junk, "--home", home) == "MOVE_MALFORMED"


def test_the_keys_that_follow_are_made_and_named_as_the_proposal_wants_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Network(tmp_path / "network", observers=0).members["bank"].home
    made = result(capsys, "keys", "rotate", "--home", home)
    _, _, action = str(made["next"]).partition("huzhu gov propose ")
    proposed = parse_json(action.strip("'").replace("SEAT", "1"), Action, "ACTION")
    assert proposed == RotateValidator(
        1, bytes.fromhex(str(made["validator_key"])), bytes.fromhex(str(made["beacon_key"]))
    )
    assert result(capsys, "keys", "rotate", "--home", home) == made, "a second time makes no others"
    assert error(capsys, 3, "keys", "rotate", "--finish", "--home", home) == "MISSING_DATABASE"
