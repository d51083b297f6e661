"""``huzhu recover``: the file goes from operator to operator; what it says, and what each step refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from node.keys import write_key
from tests.node.network import Network, running
from tests.running import run

LOST = ("bank", "firm-a", "firm-b")


@pytest.mark.asyncio
async def test_the_file_goes_from_hand_to_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = Network(tmp_path, observers=0)
    async with running(network):
        await network.until(lambda node: node.driver.signing)
    for name in ("platform", *LOST):
        write_key(tmp_path / f"{name}.key", network.keys[name])
    file, at = tmp_path / "recovery.json", ("--home", str(network.members["platform"].home))

    def recover(*words: str, code: int = 0) -> Any:
        status = run(["recover", *words, "--output", "json"])
        found = json.loads(capsys.readouterr().out)
        assert status == code, found
        return found

    unnamed = recover("propose", str(file), *at, code=3)["error"]
    assert unnamed["why"] == "the seats of this home: 0 platform, 1 bank, 2 firm-a, 3 firm-b"
    keep = [word for seat in range(4) for word in ("--keep", str(seat))]
    drafted = recover("propose", str(file), *keep, *at)
    assert "are gone, also those that were acknowledged" in drafted["warning"]
    assert recover("propose", str(file), *keep, *at, code=3)["error"]["code"] == "FILE_EXISTS"
    assert recover("show", str(file), *at)["signed_seats"] == []
    refused = recover("apply", str(file), *at, code=3)
    assert "signed for 0 seats" in refused["error"]["why"]
    for name in LOST:
        recover("sign", str(file), "--key", str(tmp_path / f"{name}.key"))
    shown = recover("show", str(file), *at)
    assert (shown["signed_seats"], shown["counts"], shown["applied"]) == ([1, 2, 3], True, False)
    assert recover("apply", str(file), *at)["applied"] is True
    assert recover("show", str(file), *at)["applied"] is True
    again = recover("propose", str(tmp_path / "other.json"), "--keep", "0", *at, code=1)
    assert again["error"]["code"] == "RECOVERY_IN_FORCE"


@pytest.mark.parametrize("word", ["x:00:00", "1:zz:00", "1"])
def test_a_seat_is_named_by_number_and_two_keys(word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recover", "propose", str(tmp_path / "r.json"), "--seat", word, "--home", str(tmp_path)]) == 2
    assert capsys.readouterr().err
