"""A node that decides whatever it is sent, so that every command of the consortium can be run as it is."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ledger import calendar
from ledger.governance import OBJECTION_DAYS
from node.admission import Admission, Source
from node.keys import KeyKind, pair_of, write_key
from tests.cli.proof_kit import serving
from tests.ledger.chain import Chain, seed
from tests.ledger.claim_kit import PARAMS
from tests.ledger.test_life import AID, CLAIMANT
from tests.node.api_kit import FakeNode
from tests.running import run

HEX = "ab" * 32


class DecidingNode(FakeNode):
    """Each transaction that is admitted is decided in a block of its own, and whatever follows from it."""

    def __init__(self, chain: Chain) -> None:
        super().__init__(values=chain.values)
        self.replay(*chain.blocks)
        self.admission = Admission(
            mempool=self.mempool,
            signatures=self.signatures,
            chain=self,
            clock_ms=self.clock_ms,
            hand_off=self._decide,
            inbox_bytes_max=100_000,
        )

    def _decide(self, ids: Sequence[bytes], source: Source) -> None:
        asyncio.get_running_loop().call_soon(self._blocks)

    def _blocks(self) -> None:
        self.commit()
        self.store(*self.chain.quiet())

    def step_days(self, days: int) -> None:
        """Step the ledger's clock."""
        self.step_to(self.chain.now_ms + days * calendar.MS_PER_DAY)

    def step_to(self, ledger_ms: int) -> None:
        before = len(self.chain.blocks)
        self.chain.step_to(ledger_ms)
        self.store(*self.chain.blocks[before:])


class Desk:
    """Where everybody sits at once: runs commands with anybody's key file, and reads what they say."""

    def __init__(self, node: DecidingNode, url: str, keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.node = node
        self.url = url
        self.keys = keys
        self._capsys = capsys

    def key(self, name: str, kind: KeyKind = KeyKind.ORGANISATION) -> str:
        """The file of somebody's key."""
        path = self.keys / f"{name.replace(' ', '-')}.key"
        if not path.exists():
            write_key(path, pair_of(kind, seed(name)))
        return str(path)

    def say(self, command: str, *more: str, code: int = 0) -> Any:
        """The JSON answer of a command, which ends with ``code``; "@name" stands for a key file."""
        words = [self.key(word[1:]) if word.startswith("@") else word for word in (*command.split(), *more)]
        self._capsys.readouterr()
        ended = run([*words, "--node", self.url, "--output", "json"])
        out = self._capsys.readouterr().out
        assert ended == code, out
        return json.loads(out)

    def as_(self, name: str, command: str, *more: str, code: int = 0) -> Any:
        """The same, signed by somebody."""
        return self.say(command, *more, "--key", self.key(name), code=code)

    def refused(self, name: str, command: str, *more: str, code: int = 1) -> str:
        """The code of the refusal."""
        return str(self.as_(name, command, *more, code=code)["error"]["code"])

    def offline(self, *words: str) -> Any:
        """The JSON answer of a command that speaks to no node."""
        self._capsys.readouterr()
        assert run([*words, "--output", "json"]) == 0
        return json.loads(self._capsys.readouterr().out)

    def text(self, command: str) -> str:
        """What a person reads."""
        self._capsys.readouterr()
        assert run([*command.split(), "--node", self.url]) == 0
        return self._capsys.readouterr().out


@contextmanager
def desk(
    chain: Chain, tmp: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Desk]:
    """A desk at a node that holds ``chain``; commands sign by the chain's clock."""
    node = DecidingNode(chain)
    monkeypatch.setattr("cli.sender.time", SimpleNamespace(time_ns=lambda: node.clock_ms() * 1_000_000))
    with serving(node) as url:
        yield Desk(node, url, tmp / "keys", capsys)
    assert node.bugs == []


def state_of(at: Desk, claim: int) -> str:
    return str(at.say(f"claim show {claim}")["state"])


def filed(at: Desk, member: int = CLAIMANT) -> int:
    day = calendar.day_of(at.node.chain.now_ms) - 2
    date = "-".join(f"{part:02}" for part in calendar.civil_from_day(day))
    done = at.as_("platform", f"claim file --member {member} --tier 1 --illness 1 --diagnosis-day {date}")
    assert done["amount_fen"] == AID
    return int(done["claim"])


def assessed(at: Desk, paper: Path) -> tuple[int, str, str]:
    """(claim, the firm that investigated, another)."""
    claim = filed(at)
    at.as_("hospital", f"claim diagnose {claim} --document {paper}")
    at.node.step_days(PARAMS.investigate_after_days + 1)
    first = at.say(f"claim show {claim}")["investigator_name"]
    at.as_(first, f"claim assess {claim} --commitment {HEX}")
    return claim, first, next(firm for firm in ("firm-a", "firm-b", "firm-c") if firm != first)


def paper_in(tmp_path: Path) -> Path:
    path = tmp_path / "paper"
    path.write_bytes(b"paper")
    return path


def decided(at: Desk, name: str, command: str, *more: str) -> dict[str, Any]:
    """Propose it, vote for it, wait until it is enacted."""
    proposal = at.as_(name, command, *more)["proposal"]
    voters = [voter for voter in ("platform", "bank", "firm-a", "firm-b", "firm-c", "other bank") if voter != name]
    for voter in voters[:3]:
        done = at.as_(voter, f"gov vote {proposal}")
    assert done["state"] == "PASSED"
    shown = at.say(f"gov show {proposal}")
    assert (shown["votes"], shown["needed"], len(shown["electorate"])) == (4, 4, 6)
    at.node.step_days(OBJECTION_DAYS + 1)
    found = at.say(f"gov show {proposal}")
    assert (found["state"], found["code"]) == ("ENACTED", "OK"), found
    return dict(found)
