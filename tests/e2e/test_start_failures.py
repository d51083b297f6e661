"""``huzhu start`` that cannot be, as an operator sees it: an exit code, and what, why and what next (NODE §3)."""

import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from cli.network import GENESIS_FILE
from cli.output import Exit
from ledger.genesis import SIGNATURES_FILE
from node.votelog import LOG_FILE

from .command import huzhu, in_json
from .network import LiveNetwork, LiveNode

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Homes:
    """The homes of one lone validator, to be copied: before its first start, and after it has committed."""

    network: LiveNetwork
    fresh: Path
    used: Path
    other_genesis: Path

    @property
    def node(self) -> LiveNode:
        return self.network.nodes["platform"]


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Homes]:
    directory = tmp_path_factory.mktemp("homes")
    with (
        LiveNetwork(directory / "net", validators=1) as network,
        LiveNetwork(directory / "other", validators=1) as other,
    ):
        node = network.nodes["platform"]
        shutil.copytree(node.home, directory / "fresh")
        network.up()
        for _ in range(5):
            network.commit_one(node)
        node.signal(signal.SIGTERM)
        assert node.wait() == 0
        shutil.copytree(node.home, directory / "used")
        yield Homes(network, directory / "fresh", directory / "used", other.genesis)


@pytest.fixture
def home(homes: Homes, tmp_path: Path) -> Path:
    """A copy of the used home, to be spoilt."""
    shutil.copytree(homes.used, tmp_path / "home")
    return tmp_path / "home"


def edit(path: Path, old: str, new: str) -> None:
    """Replace the first occurrence, which must be there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def flip(path: Path, at: int) -> None:
    """Turn one bit of the byte at ``at``."""
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def corrupt_log(home: Path, homes: Homes) -> None:
    log = home / "data" / LOG_FILE
    flip(log, log.stat().st_size // 2)


def rolled_back_log(home: Path, homes: Homes) -> None:
    shutil.copy(homes.fresh / "data" / LOG_FILE, home / "data" / LOG_FILE)


def foreign_genesis(home: Path, homes: Homes) -> None:
    for name in (GENESIS_FILE, SIGNATURES_FILE):
        shutil.copy(homes.other_genesis.with_name(name), home / name)


def foreign_log(home: Path, homes: Homes) -> None:
    shutil.rmtree(home / "data" / "ledger")
    foreign_genesis(home, homes)


def unsigned_by_one(home: Path, homes: Homes) -> None:
    lines = (home / SIGNATURES_FILE).read_text().splitlines(keepends=True)
    (home / SIGNATURES_FILE).write_text("".join(line for line in lines if not line.startswith("hospital ")))


def signed_for_another_chain(home: Path, homes: Homes) -> None:
    shutil.copy(homes.other_genesis.with_name(SIGNATURES_FILE), home / SIGNATURES_FILE)


def something_else_in_the_database(home: Path, homes: Homes) -> None:
    shutil.rmtree(home / "data" / "ledger")
    (home / "data" / "ledger").mkdir()
    (home / "data" / "ledger" / "holiday.jpg").write_bytes(b"\xff\xd8")


def wrong_kind_of_key(home: Path, homes: Homes) -> None:
    shutil.copy(home / "keys" / "beacon.key", home / "keys" / "validator.key")


Spoil = Callable[[Path, Homes], object]
BROKEN: Final[dict[str, tuple[Spoil, str, Exit, str]]] = {
    # what: (how, code, exit code, a word the operator needs)
    "no configuration": (lambda home, _: (home / "config.toml").unlink(), "MISSING_CONFIG", Exit.CONFIGURATION, "init"),
    "broken TOML": (
        lambda home, _: (home / "config.toml").write_text("[api\nlisten ="),
        "BAD_CONFIG",
        Exit.CONFIGURATION,
        "config.toml",
    ),
    "an unknown key": (
        lambda home, _: edit(home / "config.toml", "[api]", "[api]\nbody_byte_max = 5000"),
        "BAD_CONFIG",
        Exit.CONFIGURATION,
        "did you mean api.body_bytes_max?",
    ),
    "an unknown section": (
        lambda home, _: edit(home / "config.toml", "[api]", "[mempol]\n[api]"),
        "BAD_CONFIG",
        Exit.CONFIGURATION,
        "did you mean mempool?",
    ),
    "a value out of range": (
        lambda home, _: edit(home / "config.toml", "[api]", "[api]\nbody_bytes_max = 1"),
        "BAD_CONFIG",
        Exit.CONFIGURATION,
        "4096",
    ),
    "a configuration of the future": (
        lambda home, _: edit(home / "config.toml", "config_version = 1", "config_version = 2"),
        "BAD_CONFIG",
        Exit.CONFIGURATION,
        "config_version",
    ),
    "no genesis": (
        lambda home, _: (home / "genesis.toml").unlink(),
        "GENESIS_UNREADABLE",
        Exit.CONFIGURATION,
        "genesis.toml",
    ),
    "a genesis that nobody signed": (
        lambda home, _: (home / "genesis.sigs").unlink(),
        "GENESIS_UNSIGNED",
        Exit.CONFIGURATION,
        "platform",
    ),
    "another genesis than the founders signed": (
        lambda home, homes: shutil.copy(homes.other_genesis, home / "genesis.toml"),
        "GENESIS_SIGNATURE_INVALID",
        Exit.CONFIGURATION,
        "this very file",
    ),
    "a broken genesis": (
        lambda home, _: (home / "genesis.toml").write_text("clock = 'broken'"),
        "GENESIS_INVALID",
        Exit.CONFIGURATION,
        "",
    ),
    "a genesis that one founder has not signed": (
        unsigned_by_one,
        "GENESIS_UNSIGNED",
        Exit.CONFIGURATION,
        "hospital",
    ),
    "signatures of another genesis": (
        signed_for_another_chain,
        "GENESIS_SIGNATURE_INVALID",
        Exit.CONFIGURATION,
        "line 1",
    ),
    "no node key": (lambda home, _: (home / "keys/node.key").unlink(), "KEY_MISSING", Exit.CONFIGURATION, "node.key"),
    "no validator key": (
        lambda home, _: (home / "keys/validator.key").unlink(),
        "KEY_MISSING",
        Exit.CONFIGURATION,
        "validator.key",
    ),
    "a key that everybody may read": (
        lambda home, _: (home / "keys/validator.key").chmod(0o644),
        "KEY_EXPOSED",
        Exit.CONFIGURATION,
        "chmod 600",
    ),
    "a key that is none": (
        lambda home, _: (home / "keys/validator.key").write_text("kein Schlüssel"),
        "KEY_MALFORMED",
        Exit.CONFIGURATION,
        "backup",
    ),
    "a key of another kind": (wrong_kind_of_key, "KEY_WRONG_KIND", Exit.CONFIGURATION, "beacon"),
    "no signing record": (
        lambda home, _: (home / "data" / LOG_FILE).unlink(),
        "LOG_MISSING",
        Exit.INTEGRITY,
        "--record-lost",
    ),
    "a signing record damaged in the middle": (corrupt_log, "LOG_DAMAGED", Exit.INTEGRITY, "--record-lost"),
    "an old copy of the signing record": (rolled_back_log, "LOG_ROLLED_BACK", Exit.INTEGRITY, "newest log"),
    "the signing record of another chain": (foreign_log, "LOG_FOREIGN", Exit.CONFIGURATION, "chain"),
    "the database of another chain": (
        foreign_genesis,
        "FOREIGN_DATABASE",
        Exit.CONFIGURATION,
        "belongs to the chain",
    ),
    "something else where the database should be": (
        something_else_in_the_database,
        "FOREIGN_DATABASE",
        Exit.CONFIGURATION,
        "not a database",
    ),
    "a damaged database": (
        lambda home, _: (home / "data/ledger/CURRENT").write_bytes(b"MANIFEST-999999\n"),
        "CORRUPT_DATABASE",
        Exit.INTEGRITY,
        "huzhu reset",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_start_that_cannot_be_says_what_why_and_what_next(homes: Homes, home: Path, what: str) -> None:
    spoil, code, exit_code, word = BROKEN[what]
    spoil(home, homes)
    ran = in_json("start", "--home", home)
    assert (ran.error["code"], ran.exit_code) == (code, exit_code.value)
    assert word in " ".join(ran.error.values())
    assert ran.error["what"]
    assert ran.error["next"]
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(("code", "which"), [("API_PORT_IN_USE", "api.listen"), ("CANNOT_LISTEN", "p2p.listen")])
def test_a_used_port_is_named(home: Path, code: str, which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ran = in_json("start", "--home", home, "--set", f"{which}={address}")
    assert (ran.error["code"], ran.exit_code) == (code, Exit.FAILURE.value)
    assert address in ran.error["what"]
    assert "Traceback" not in ran.stderr


def test_an_unknown_key_in_a_flag_or_the_environment_is_an_error_too(home: Path) -> None:
    flag = in_json("start", "--home", home, "--set", "api.lissten=127.0.0.1:0")
    variable = in_json("start", "--home", home, environ={"HUZHU_API_LISSTEN": "127.0.0.1:0"})
    for ran in (flag, variable):
        assert (ran.error["code"], ran.exit_code) == ("BAD_CONFIG", Exit.CONFIGURATION.value)
        assert "did you mean" in ran.error["next"]


def test_a_second_start_on_a_home_that_is_in_use_is_refused_and_the_first_lives_on(homes: Homes) -> None:
    homes.network.up()
    pid = homes.node.pid
    ran = in_json("start", "--home", homes.node.home)
    assert (ran.error["code"], ran.exit_code) == ("LOCKED_DATABASE", Exit.FAILURE.value)
    assert homes.node.pid == pid
    homes.network.commit_one(homes.node)
    homes.node.signal(signal.SIGTERM)
    assert homes.node.wait() == 0


def test_a_torn_end_of_the_signing_record_is_no_reason_not_to_start(homes: Homes) -> None:
    height = homes.network.up().commit_one(homes.node)["height"]
    homes.node.kill()
    with (homes.node.home / "data" / LOG_FILE).open("ab") as log:
        log.write(b"\x00\x01\x02 the power went here")
    homes.network.up()
    assert homes.network.commit_one(homes.node)["height"] > height
    homes.node.signal(signal.SIGTERM)
    assert homes.node.wait() == 0


def test_errors_are_for_people_when_nobody_asks_for_json(home: Path) -> None:
    (home / "genesis.toml").unlink()
    ran = huzhu("start", "--home", home)
    assert (ran.exit_code, ran.stdout) == (Exit.CONFIGURATION.value, "")
    assert ran.stderr.splitlines()[0].startswith("error GENESIS_UNREADABLE:")
    assert "  next: " in ran.stderr


def test_a_check_finds_the_same_without_starting_anything(home: Path) -> None:
    good = in_json("start", "--home", home, "--check")
    assert (good.exit_code, good.json["validator"]) == (0, True)
    (home / "keys/validator.key").chmod(0o644)
    bad = in_json("start", "--home", home, "--check")
    assert (bad.exit_code, bad.error["code"]) == (Exit.CONFIGURATION.value, "KEY_EXPOSED")
