"""Commands that speak to a node, over a node that is not there: what they understand and what they refuse."""

from pathlib import Path

import click
import pytest

from cli.claim import day_number
from cli.member import birth_month
from cli.network import NETWORK_FILE, Founder, found, load
from cli.output import listing, rmb, shown, table
from cli.status import flat
from cli.testnet import consortium, default_params, default_plan, parse_time
from cli.tx import parse_body
from ledger.calendar import notice_ms
from ledger.errors import OperatorError
from ledger.genesis import parse_genesis
from ledger.roles import Role
from ledger.transactions import Enrol, Exit
from node.config import load as load_config
from tests.running import run


def test_a_body_is_the_array_of_its_name_and_fields() -> None:
    assert parse_body('["exit", 7]') == Exit(7)
    assert parse_body(f'["enrol", 0, "0x{"ab" * 32}", 23884, "0x"]') == Enrol(0, b"\xab" * 32, 23884, b"")


@pytest.mark.parametrize(
    "text", ["", "7", '["exit"]', '["exit", "7"]', '["nothing", 1]', '["exit", "0xzz"]', "[" * 9999]
)
def test_what_is_no_body_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.BadParameter):
        parse_body(text)


def test_dates_are_read_as_the_ledger_counts_them() -> None:
    assert parse_time("2019-01-07") == notice_ms(24), "a date is 00:00 in UTC+8"
    assert parse_time("1546790400000") == notice_ms(24)
    assert parse_time("2019-01-06T16:00:00+00:00") == notice_ms(24)
    assert day_number("1970-01-02") == 1
    assert birth_month("1990-05") == 1990 * 12 + 4
    for text, read in (("soon", parse_time), ("2019-02-30", day_number), ("1990-13", birth_month)):
        with pytest.raises(click.BadParameter):
            read(text)


def test_a_consortium_has_every_role_whatever_its_size() -> None:
    for validators in (1, 4, 7):
        founders = consortium(validators, 2)
        assert sum(founder.validator for founder in founders) == validators
        assert sum(founder.observer for founder in founders) == 2
        roles = Role(0)
        for founder in founders:
            roles |= founder.roles
        assert all(role in roles for role in Role)
        assert len({founder.name for founder in founders}) == len(founders)


def test_a_network_is_founded_once_with_peers_that_know_each_other(tmp_path: Path) -> None:
    place = tmp_path / "net"
    made = found(place, consortium(4, 1), [default_plan()], default_params(), name="t", clock_start_ms=5)
    assert load(place) == made
    genesis = parse_genesis(made.genesis_path.read_bytes())
    assert genesis.stepped
    assert genesis.chain_id == made.chain_id
    addresses = {node.p2p for node in made.nodes} | {node.api for node in made.nodes}
    assert len(addresses) == 10
    for node in made.nodes:
        config = load_config(node.home, environ={})
        assert {f"{peer.host}:{peer.port}" for peer in config.peers} == {n.p2p for n in made.nodes if n is not node}
        assert config.node.observer is node.observer
    with pytest.raises(OperatorError) as caught:
        found(place, consortium(1, 0), [default_plan()], default_params(), name="t", clock_start_ms=None)
    assert caught.value.code == "NETWORK_EXISTS"


def test_down_is_idempotent_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "net"
    founders = [Founder("one", Role.PLATFORM, validator=True)]
    found(place, founders, [default_plan()], default_params(), name="t", clock_start_ms=None)
    assert run(["testnet", "down", "--dir", str(place)]) == 0
    assert not place.exists()
    assert run(["testnet", "down", "--dir", str(place), "--output", "json"]) == 0
    assert '"ended": []' in capsys.readouterr().out


def test_a_network_file_that_is_broken_is_told_so(tmp_path: Path) -> None:
    (tmp_path / NETWORK_FILE).write_text("{}")
    assert run(["testnet", "status", "--dir", str(tmp_path)]) == 3


def test_columns_and_lines_are_aligned() -> None:
    assert table(("name", "fen"), [("a", 5), ("bcdef", 1234)]) == "name    fen\na         5\nbcdef  1234"
    assert listing({"a": 1, "long": 2}) == "a     1\nlong  2"
    assert (rmb(5), rmb(123456), rmb(-250)) == ("0.05", "1,234.56", "-2.50")
    assert flat({"a_b": {"c": None}, "d": 1}) == {"a b c": "-", "d": 1}


def test_people_read_moments_in_utc_few_digits_and_lists_by_their_items() -> None:
    values: dict[str, object] = {
        "due_ms": 1_795_995_836_651,
        "time ms": 10**12,
        "window ms": 600_000,
        "id": 1_795_995_836_651,
        "offset ms": -6.1494140625,
        "share": 0.0123456,
        "roles": ["BANK", "ASSESSOR"],
        "voted": [],
        "why": None,
        "signing": True,
    }
    assert [line.split("  ")[0] + "|" + line.split("  ")[-1].strip() for line in listing(values).splitlines()] == [
        "due|2026-11-29T23:43:56+00:00",
        "time|2001-09-09T01:46:40+00:00",
        "window ms|600000",
        "id|1795995836651",
        "offset ms|-6.149",
        "share|0.0123",
        "roles|BANK, ASSESSOR",
        "voted|-",
        "why|-",
        "signing|True",
    ]
    assert shown("due_ms", 253_402_300_800_000) == 253_402_300_800_000, "no calendar reaches so far"
