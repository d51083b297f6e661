"""``init``: a home is made once, and a second time nothing in it changes."""

import json
from pathlib import Path

import pytest

from cli.home import ADDED, CREATED, KEPT, make_home
from cli.network import Founder, found
from ledger.errors import OperatorError
from ledger.genesis import parse_chain_params, parse_plan
from ledger.roles import Role
from tests.running import run

CONFIGS = Path("configs")


def contents(home: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}


@pytest.fixture
def genesis(tmp_path: Path) -> bytes:
    network = found(
        tmp_path / "net",
        [Founder("one", Role.PLATFORM, validator=True), Founder("eye", Role.REGULATOR, observer=True)],
        [parse_plan((CONFIGS / "plan_main.toml").read_text())],
        parse_chain_params((CONFIGS / "chain_main.toml").read_text()),
        name="test",
        clock_start_ms=None,
    )
    return network.genesis_path.read_bytes()


def test_the_first_init_makes_configuration_and_three_keys(tmp_path: Path) -> None:
    made = make_home(tmp_path / "home")
    assert [item.what for item in made] == ["configuration", "validator key", "beacon key", "node key"]
    assert all(item.state == CREATED and item.path.exists() for item in made)


def test_with_the_genesis_the_first_signing_record_is_written(tmp_path: Path, genesis: bytes) -> None:
    made = make_home(tmp_path / "home", genesis=genesis)
    assert [item.what for item in made][-2:] == ["genesis", "signing record"]


def test_a_second_init_changes_nothing(tmp_path: Path, genesis: bytes) -> None:
    home = tmp_path / "home"
    make_home(home, genesis=genesis)
    before = contents(home)
    assert {item.state for item in make_home(home, genesis=genesis)} == {KEPT}
    assert contents(home) == before


def test_an_observer_has_no_key_to_vote_with_and_no_signing_record(tmp_path: Path, genesis: bytes) -> None:
    home = tmp_path / "home"
    assert [item.what for item in make_home(home, genesis=genesis, observer=True)] == [
        "configuration",
        "node key",
        "genesis",
    ]


def test_another_chains_genesis_is_refused(tmp_path: Path, genesis: bytes) -> None:
    home = tmp_path / "home"
    make_home(home, genesis=genesis)
    with pytest.raises(OperatorError) as caught:
        make_home(home, genesis=genesis.replace(b'name = "test"', b'name = "rest"'))
    assert caught.value.code == "GENESIS_DIFFERS"


def test_signatures_become_more_and_a_wrong_one_is_refused(tmp_path: Path, genesis: bytes) -> None:
    home, sigs = tmp_path / "home", tmp_path / "home" / "genesis.sigs"
    one, eye = (tmp_path / "net" / "genesis.sigs").read_text().splitlines(keepends=True)

    def state(signatures: str) -> str:
        return next(item.state for item in make_home(home, genesis=genesis, signatures=signatures) if item.path == sigs)

    assert [state(one), state(one), state(eye), state("")] == [CREATED, KEPT, ADDED, KEPT]
    assert sigs.read_text() == one + eye
    with pytest.raises(OperatorError) as caught:
        make_home(home, genesis=genesis, signatures=one.replace("one ", "eye "))
    assert caught.value.code == "GENESIS_SIGNATURE_INVALID"
    assert sigs.read_text() == one + eye


def test_init_sets_keys_of_a_new_configuration(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert run(["init", "--home", str(home), "--set", "api.listen=127.0.0.1:0", "--set", "log.summary_seconds=5"]) == 0
    text = (home / "config.toml").read_text()
    assert 'listen = "127.0.0.1:0"' in text
    assert "summary_seconds = 5" in text
    assert run(["init", "--home", str(tmp_path / "other"), "--set", "api.lisen=1"]) == 3
    assert run(["init", "--home", str(tmp_path / "other"), "--set", "api.listen"]) == 2


def test_init_prints_every_path_and_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "home"
    assert run(["init", "--home", str(home), "--name", "north", "--output", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert {Path(entry["path"]).exists() for entry in answer["paths"]} == {True}
    assert "huzhu init" in answer["next"], "without a genesis the node cannot start"
    assert 'name = "north"' in (home / "config.toml").read_text()


def test_start_check_says_whether_the_node_would_vote(
    tmp_path: Path, genesis: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["start", "--home", str(tmp_path / "net" / "one"), "--check", "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["validator"] is True
    signatures = (tmp_path / "net" / "genesis.sigs").read_text()
    make_home(tmp_path / "home", genesis=genesis, signatures=signatures)
    assert run(["start", "--home", str(tmp_path / "home"), "--check", "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["validator"] is False


def test_keys_are_listed_without_their_secrets_and_never_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = tmp_path / "keys"
    assert run(["keys", "new", "organisation", "--name", "bank", "--dir", str(keys)]) == 0
    secret = [line for line in (keys / "bank.key").read_text().splitlines() if line.startswith("secret")][0]
    capsys.readouterr()
    assert run(["keys", "list", "--dir", str(keys), "--output", "json"]) == 0
    text = capsys.readouterr().out
    assert [entry["name"] for entry in json.loads(text)["keys"]] == ["bank"]
    assert secret.split('"')[1] not in text
    assert run(["keys", "new", "organisation", "--name", "bank", "--dir", str(keys)]) == 3
    assert "KEY_EXISTS" in capsys.readouterr().err


def test_genesis_check_names_the_chain(tmp_path: Path, genesis: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "genesis.toml"
    file.write_bytes(genesis)
    assert run(["genesis", "check", str(file), "--output", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["clock"] == "real"
    assert [org["name"] for org in answer["organisations"]] == ["one", "eye"]
    file.write_bytes(genesis[:-20])
    assert run(["genesis", "check", str(file)]) == 3
