"""Who is an applicant, what it is told at each step, and that it may ask nothing else."""

import pytest

from ledger.actions import AdmitOrganisation
from ledger.calendar import MS_PER_DAY
from ledger.errors import PeerError
from ledger.governance import OBJECTION_DAYS
from ledger.roles import Role
from ledger.transactions import Propose, Veto, VoteFor
from node.applicants import Applicants, admission, applicant_keys
from node.questions import Questions
from node.roster import make_roster
from node.snapshot_wire import (
    Admission,
    GetAdmission,
    GetHeaders,
    GetSnapshot,
    decode_admission,
    decode_any_question,
    encode_answer,
)
from node.wire import GetBlocks
from tests.ledger.chain import Chain, key
from tests.node.snapshots import Holder

NODE = b"n" * 32
ADMIT = AdmitOrganisation("clinic", int(Role.BANK), key("clinic"), (NODE,), "127.0.0.1:7000")


def told(chain: Chain) -> tuple[str, int, int]:
    found = admission(chain.state, NODE, chain.view.height)
    assert found.height == chain.view.height
    return found.state, found.in_favour, found.needed


def test_an_application_is_told_step_by_step_and_its_node_is_an_applicant_until_it_is_decided() -> None:
    chain = Chain()
    assert told(chain) == ("unknown", 0, 3)
    assert applicant_keys(chain.state) == frozenset()
    proposal, _ = chain.ok("platform", Propose(ADMIT))
    assert told(chain) == ("open", 1, 3)
    chain.ok("bank", VoteFor(proposal))
    chain.ok("firm-a", VoteFor(proposal))
    assert told(chain) == ("passed", 3, 3)
    roster = make_roster(chain.state, chain.view.next_validators)
    assert roster.applicants == {NODE}
    assert NODE not in roster.allowed
    chain.step_to(chain.now_ms + (OBJECTION_DAYS + 1) * MS_PER_DAY)
    assert told(chain)[0] == "admitted"
    roster = make_roster(chain.state, chain.view.next_validators)
    assert roster.applicants == frozenset()
    assert NODE in roster.allowed


def test_an_objection_ends_an_application_and_a_new_one_counts() -> None:
    chain = Chain()
    proposal, _ = chain.ok("platform", Propose(ADMIT))
    chain.ok("regulator", Veto(proposal))
    assert told(chain)[0] == "objected"
    assert applicant_keys(chain.state) == frozenset()
    chain.ok("bank", Propose(ADMIT))
    assert told(chain)[0] == "open"


@pytest.mark.asyncio
async def test_an_applicant_may_ask_for_its_admission_and_for_nothing_else() -> None:
    holder = Holder(Chain())
    applicants = Applicants(holder.chain)
    questions = Questions(holder.sync, holder.server, applicants, lambda peer: peer == NODE)
    assert decode_admission(await questions.answer(NODE, encode_answer(GetAdmission()))).state == "unknown"
    for question in (GetSnapshot(1), GetBlocks(1, 1), GetHeaders(0, 0)):
        with pytest.raises(PeerError) as refused:
            await questions.answer(NODE, encode_answer(question))
        assert refused.value.code == "NOT_PERMITTED"
    assert await questions.answer(b"peer", encode_answer(GetHeaders(0, 0)))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"noise",
        encode_answer(GetBlocks(2, 1)),
        encode_answer(GetHeaders(0, 256)),
        encode_answer(GetSnapshot(-1)),
        encode_answer(GetSnapshot(2**63)),
    ],
)
def test_a_question_out_of_range_is_malformed(raw: bytes) -> None:
    with pytest.raises(PeerError) as refused:
        decode_any_question(raw)
    assert refused.value.code == "MALFORMED"


def test_what_is_told_of_an_application_is_one_word_and_numbers() -> None:
    with pytest.raises(PeerError):
        decode_admission(encode_answer(Admission("\x1b[31mopen", 0, 0, 0, 0, 0)))
