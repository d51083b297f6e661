"""Appeals, juries and ballots that are files, against a node that decides what it is sent."""

import json
import stat
from pathlib import Path

from ledger.disputes import Stage
from ledger.jury import Vote, commitment
from ledger.rows import Claim, Dispute, Juror
from tests.cli.consortium_kit import Desk, assessed, paper_in, state_of
from tests.ledger.claim_kit import PARAMS, person
from tests.ledger.test_life import CLAIMANT, MEMBERS
from tests.running import run

BALLOT = {
    "format": "huzhu-ballot-1",
    "chain_id": "00" * 32,
    "claim": 0,
    "dispute": 0,
    "member": person(1),
    "juror": 1,
    "vote": "clear",
    "salt": "00" * 16,
    "commitment": "00" * 32,
}
"""Whole in its form; its commitment is of nothing."""


def test_a_refused_claim_is_appealed_and_a_jury_votes_by_files(at: Desk, tmp_path: Path) -> None:
    claim, _, second = assessed(at, paper_in(tmp_path))
    at.as_(second, f"claim review {claim} --reason 2")
    at.as_("platform", f"claim appeal {claim} --member {CLAIMANT}")
    at.as_("bank", f"jury exclude {claim} --member {person(5)} --reason family")
    assert at.refused("person 1", f"jury commit {claim} --member 301 --vote clear --ballot x") == "NO_JURY"
    at.node.step_days(PARAMS.notice_days + 1)
    (found,) = at.say(f"jury list --claim {claim}")["disputes"]
    dispute = at.say(f"jury show {found['id']}")
    assert (dispute["stage"], dispute["draw_by_the_rules"], len(dispute["drawn"])) == ("COMMIT", True, 9)
    panel = [at.node.current.state.get(Juror, juror).member for juror in dispute["drawn"]]
    assert person(5) not in panel
    outside = next(person(number) for number in range(16) if person(number) not in panel)
    ballot = tmp_path / "no ballot"
    assert at.refused("platform", f"jury commit {claim} --member {outside} --vote clear --ballot", str(ballot)) == (
        "NOT_ON_THE_JURY"
    )
    assert not ballot.exists()
    files = {member: tmp_path / f"ballot {member}" for member in panel[:5]}
    for member, path in files.items():
        name = f"person {member - MEMBERS}"
        done = at.as_(name, f"jury commit {claim} --member {member} --vote clear --ballot", str(path))
        assert done["file"] == str(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert at.refused(name, "jury reveal", str(path) + "s", code=3) == "KEY_MISSING"
        assert at.refused(name, "jury reveal", str(path)) == "WRONG_WINDOW"
    again = at.as_("platform", f"jury commit {claim} --member {panel[0]} --vote refuse --ballot", str(path), code=2)
    assert again["error"]["code"] == "BALLOT_EXISTS"
    second_ = tmp_path / "second ballot"
    first_ = f"person {panel[0] - MEMBERS}"
    assert at.refused(first_, f"jury commit {claim} --member {panel[0]} --vote refuse --ballot", str(second_)) == (
        "ALREADY_VOTED"
    )
    assert second_.exists(), "what may have been sent can be opened, whatever became of it"
    at.node.step_to(at.node.current.state.get(Claim, claim).due_ms)
    for member, path in files.items():
        at.as_(f"person {member - MEMBERS}", "jury reveal", str(path))
    dispute = at.say(f"jury show {found['id']}")
    assert (dispute["clear"], dispute["stage"]) == (5, "REVEAL")
    assert {one["vote"] for one in dispute["ballots"]} == {"CLEAR"}
    at.node.step_to(at.node.current.state.get(Claim, claim).due_ms)
    assert state_of(at, claim) in ("CLEARED", "NOTICED")
    assert at.node.current.state.get(Dispute, found["id"]).stage == Stage.ENDED
    _verify_the_jury(at, tmp_path, found["id"], dispute["drawn"])


def _verify_the_jury(at: Desk, tmp_path: Path, dispute: int, drawn: list[int]) -> None:
    """Offline, from public data alone: the file of a node and the genesis file."""
    at.node.commit()
    genesis, file = tmp_path / "genesis.toml", tmp_path / "jury.proof"
    genesis.write_bytes(at.node.genesis_raw)
    written = at.say(f"proof jury {dispute} --out {file}")
    assert written["bytes"] == file.stat().st_size
    verified = ["verify", "jury", str(file), "--genesis", str(genesis)]
    assert run(verified) == 0
    raw = file.read_bytes()
    for place in (len(raw) // 2, len(raw) - 5, len(raw) - 2_000):
        file.write_bytes(raw[:place] + bytes((raw[place] ^ 1,)) + raw[place + 1 :])
        assert run(verified) == 6
    file.write_bytes(raw)
    assert at.offline(*verified)["drawn"] == ",".join(str(juror) for juror in drawn)
    assert at.say(f"proof jury 99 --out {file}", code=1)["error"]["code"] == "NOT_FOUND"


def test_a_ballot_that_does_not_open_its_commitment_is_not_sent(at: Desk, tmp_path: Path) -> None:
    path = tmp_path / "ballot"
    for wrong in ({"vote": "perhaps"}, {"salt": "0"}, {"salt": ""}, {"juror": -1}, {"claim": "0"}, {"format": "x"}, {}):
        path.write_text(json.dumps(BALLOT | wrong))
        path.chmod(0o600)
        assert at.refused("person 1", "jury reveal", str(path), code=2) == "BAD_BALLOT", wrong
    for text in ("", "[]", "{}", "[" * 4_000):
        path.write_text(text)
        assert at.refused("person 1", "jury reveal", str(path), code=2) == "BAD_BALLOT", text
    path.chmod(0o644)
    assert at.refused("person 1", "jury reveal", str(path), code=3) == "KEY_EXPOSED"


def test_a_ballot_of_another_chain_is_not_sent(at: Desk, tmp_path: Path) -> None:
    path = tmp_path / "ballot"
    path.write_text(json.dumps(BALLOT | {"commitment": commitment(0, 1, Vote.CLEAR, bytes(16)).hex()}))
    path.chmod(0o600)
    assert at.refused("person 1", "jury reveal", str(path), code=2) == "WRONG_CHAIN"


def test_a_member_sees_events_claimed_twice_and_jurors_are_registered(at: Desk) -> None:
    assert at.say("claim doubles")["events"] == []
    assert at.refused("platform", "jury register 7") == "NO_OWN_KEY"
    assert at.as_("platform", f"jury register {person(20)}")["juror"] == 16
    assert at.say(f"jury jurors --member {person(20)}")["jurors"][0]["id"] == 16
    assert at.say("jury jurors --member 7")["jurors"] == []
    assert len(at.say("jury jurors")["jurors"]) == 17
    assert at.refused("platform", f"jury exclude 9 --member {person(1)} --reason family") == "UNKNOWN_CLAIM"
