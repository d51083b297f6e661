"""The genesis file: exact bytes make the chain, every fault is named by its key, height 0 follows from it."""

from dataclasses import replace
from hashlib import sha256, sha512
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import configs
from ledger.blocks import ZERO_HASH, validators_hash
from ledger.calendar import notice_ms
from ledger.errors import OperatorError
from ledger.genesis import (
    GenesisPlan,
    check_genesis_signatures,
    genesis_signature_digest,
    initial_batch,
    parse_chain_params,
    parse_genesis,
    parse_plan,
    render_genesis,
    sign_genesis,
)
from ledger.params import TierBand
from ledger.roles import Role
from ledger.rows import Clock, Organisation, Plan, Validator
from ledger.signing import sign
from ledger.state import StateReader
from ledger.store import MemoryStore
from ledger.tables import TableReader
from tests.ledger.chain import GENESIS_MS, ORGANISATIONS, PLAN_PARAMS, START_MS, genesis_values, key, organisation, seed

TEXT = render_genesis(genesis_values())


def fault(text: str) -> str:
    """The path that the error of an invalid genesis names."""
    with pytest.raises(OperatorError) as caught:
        parse_genesis(text.encode())
    assert caught.value.code == "GENESIS_INVALID"
    assert caught.value.exit_code == 3
    assert caught.value.next
    return caught.value.what


def test_a_written_genesis_reads_back_to_the_same_values() -> None:
    assert parse_genesis(TEXT.encode()).values == genesis_values()


def test_a_production_genesis_reads_back_and_has_no_offset() -> None:
    values = genesis_values(clock="real", clock_key=b"", clock_start_ms=GENESIS_MS)
    genesis = parse_genesis(render_genesis(values).encode())
    assert genesis.values == values
    assert not genesis.stepped
    assert genesis.offset_ms == 0


def test_the_chain_id_is_the_hash_of_the_exact_bytes() -> None:
    assert parse_genesis(TEXT.encode()).chain_id == sha256(TEXT.encode()).digest()
    assert parse_genesis((TEXT + "\n").encode()).chain_id != parse_genesis(TEXT.encode()).chain_id


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=16))
@settings(max_examples=50)
def test_any_printable_name_survives_writing(name: str) -> None:
    values = genesis_values(name=name)
    assert parse_genesis(render_genesis(values).encode()).name == name


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ('name = "tests"\n', "", "chain.name"),
        ('name = "tests"\n', 'name = ""\n', "chain.name"),
        ('name = "tests"\n', f'name = "{"x" * 65}"\n', "chain.name"),
        ('name = "tests"\n', 'name = "tests"\ncolour = "red"\n', "chain.colour"),
        ("[consensus]\n", "[consensus]\ntimeout = 1\n", "consensus.timeout"),
        (f"time_ms = {GENESIS_MS}\n", "time_ms = 0\n", "chain.time_ms"),
        (f"time_ms = {GENESIS_MS}\n", "time_ms = 1.5\n", "chain.time_ms"),
        (f"time_ms = {GENESIS_MS}\n", "time_ms = true\n", "chain.time_ms"),
        ('clock = "stepped"\n', 'clock = "fast"\n', "chain.clock"),
        ('clock = "stepped"\n', 'clock = "real"\n', "chain.clock_key"),
        (f"clock_start_ms = {START_MS}\n", "", "chain.clock_start_ms"),
        (f'clock_key = "{key("clock").hex()}"\n', 'clock_key = "00"\n', "chain.clock_key"),
        (f'clock_key = "{key("clock").hex()}"\n', f'clock_key = "{"00" * 32}"\n', "chain.clock_key"),
        (key("bank").hex(), key("bank").hex().upper(), "organisation[1].key"),
        (key("bank").hex(), "zz" * 32, "organisation[1].key"),
        (key("bank").hex(), key("platform").hex(), "organisation[1].key"),
        (key("bank validator").hex(), key("bank beacon").hex(), "organisation[1].validator.beacon_key"),
        (key("bank").hex(), key("clock").hex(), "organisation[1].key"),
        ('name = "bank"', 'name = "platform"', "organisation[1].name"),
        ('roles = ["BANK"]', "roles = []", "organisation[1].roles"),
        ('roles = ["BANK"]', 'roles = ["BANKER"]', "organisation[1].roles[0]"),
        ('roles = ["BANK"]', "roles = [2]", "organisation[1].roles[0]"),
        ('roles = ["BANK"]', 'roles = ["PLATFORM", "ASSESSOR"]', "organisation[1].roles"),
        ('roles = ["BANK"]', 'roles = ["REGULATOR"]', "organisation[1].validator"),
        (f'node_keys = ["{sha256(b"bank node").hexdigest()}"]', "node_keys = []", "organisation[1].node_keys"),
        ('address = ""', 'address = "nowhere"', "organisation[0].address"),
        ('address = ""', 'address = "host:65536"', "organisation[0].address"),
        ("fee_bps = 800", "fee_bps = 10001", "plan[0].params.fee_bps"),
        ("fee_bps = 800", "", "plan[0].params.fee_bps"),
        ("notice_days = 3", "notice_days = 0", "plan[0].params.notice_days"),
        ("notice_days = 3", "notice_days = 7", "plan[0].params.notice_days"),
        ("jury_quorum = 100", "jury_quorum = 502", "plan[0].params.jury_quorum"),
        (
            "{ tier = 1, age_from = 0, aid_fen = 30000 }",
            "{ tier = 1, age_from = 0 }",
            "plan[0].params.tiers[0].aid_fen",
        ),
        ("{ tier = 1, age_from = 40,", "{ tier = 1, age_from = 0,", "plan[0].params.tiers"),
        ("{ age_from = 0, class_id = 1,", "{ age_from = 1, class_id = 1,", "plan[0].params.classes"),
        ("{ age_from = 0, class_id = 1, weight = 1 },", "7,", "plan[0].params.classes[0]"),
        ("timeout_ms_max = 30000", "timeout_ms_max = 999", "consensus.timeout_ms_max"),
        ("draw_blocks = 3", "draw_blocks = 0", "consensus.draw_blocks"),
        ("draw_blocks = 3", 'draw_blocks = "3"', "consensus.draw_blocks"),
        ("[chain]", "[chain", "file"),
    ],
)
def test_a_fault_is_named_by_the_path_of_its_key(old: str, new: str, path: str) -> None:
    assert TEXT.count(old) >= 1, "the test must change something"
    where = TEXT.index(old)
    assert fault(TEXT[:where] + new + TEXT[where + len(old) :]) == path


def test_a_misspelt_key_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(OperatorError) as caught:
        parse_genesis(
            TEXT.replace('address = ""', 'adress = ""\naddress = ""', 1).replace('address = ""\n', "", 1).encode()
        )
    assert caught.value.what in ("organisation[0].adress", "organisation[0].address")
    assert "address" in caught.value.next


def test_bytes_that_are_not_utf8_are_refused() -> None:
    with pytest.raises(OperatorError):
        parse_genesis(b"\xff\xfe")


def test_a_chain_needs_a_validator_and_takes_128_at_most() -> None:
    nobody = tuple(replace(item, validator=None) for item in ORGANISATIONS)
    assert fault_of_values(organisations=nobody) == "organisation"
    many = tuple(organisation(f"firm {number}", Role.ASSESSOR, validates=True) for number in range(129))
    assert fault_of_values(organisations=many) == "organisation"
    assert len(parse_genesis(render_genesis(genesis_values(organisations=many[:128])).encode()).validators()) == 128


def fault_of_values(**changes: Any) -> str:
    with pytest.raises(OperatorError) as caught:
        render_genesis(genesis_values(**changes))
    return caught.value.what


def test_two_plans_may_not_have_one_name() -> None:
    plans = (GenesisPlan("main", PLAN_PARAMS), GenesisPlan("main", PLAN_PARAMS))
    assert fault_of_values(plans=plans) == "plan[1].name"


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_any_bytes_are_a_genesis_or_an_operators_error(raw: bytes) -> None:
    with pytest.raises(OperatorError):
        parse_genesis(raw)


@given(st.integers(0, len(TEXT) - 1), st.integers(0, 127))
@settings(max_examples=300, deadline=None)
def test_a_genesis_with_one_byte_altered_is_read_or_refused_by_an_operators_error(at: int, value: int) -> None:
    raw = TEXT[:at].encode() + bytes((value,)) + TEXT[at + 1 :].encode()
    try:
        parse_genesis(raw)
    except OperatorError as error:
        assert error.code == "GENESIS_INVALID"


# ---- founders' signatures ------------------------------------------------------------------------------------------


def test_founders_who_have_not_signed_are_named() -> None:
    genesis = parse_genesis(TEXT.encode())
    lines = sign_genesis("bank", seed("bank"), genesis.chain_id) + "\n# a comment\n"
    assert check_genesis_signatures(genesis, lines) == ["platform", "firm-a", "firm-b", "hospital", "regulator"]
    everybody = "".join(sign_genesis(item.name, seed(item.name), genesis.chain_id) for item in ORGANISATIONS)
    assert check_genesis_signatures(genesis, everybody) == []


@pytest.mark.parametrize(
    "line",
    [
        "bank",
        "bank 00",
        "stranger " + "00" * 64,
        "bank " + "00" * 64,
        "bank " + sign(seed("bank"), b"another message of 32 bytes.....").hex(),
        "bank " + sign(seed("platform"), genesis_signature_digest(parse_genesis(TEXT.encode()).chain_id)).hex(),
        sign_genesis("bank", seed("bank"), parse_genesis(TEXT.encode()).chain_id) * 2,
    ],
)
def test_a_wrong_signature_is_worse_than_a_missing_one(line: str) -> None:
    with pytest.raises(OperatorError) as caught:
        check_genesis_signatures(parse_genesis(TEXT.encode()), line)
    assert caught.value.code == "GENESIS_SIGNATURE_INVALID"


# ---- height 0 ------------------------------------------------------------------------------------------------------


def test_height_0_is_what_the_design_says() -> None:
    genesis = parse_genesis(TEXT.encode())
    _, header, _ = initial_batch(genesis)
    assert (header.height, header.epoch, header.time_ms) == (0, 0, GENESIS_MS)
    zeros = (header.parent, header.creator, header.txs_root, header.evidence_root, header.state_root)
    assert set(zeros) == {ZERO_HASH}
    assert header.validators_hash == header.next_validators_hash == validators_hash(genesis.validators())
    assert header.params_hash == genesis.params.hash()
    assert header.beacon == sha512(b"huzhu-beacon-0" + genesis.chain_id).digest()
    assert header.beacon_proof == b""


def test_the_rows_of_height_0_follow_from_the_file() -> None:
    genesis = parse_genesis(TEXT.encode())
    batch, _, root = initial_batch(genesis)
    store = MemoryStore()
    store.write(batch)
    state = StateReader(store)
    assert TableReader(store).root() == root
    assert state.get(Clock, 1) == Clock(offset_ms=START_MS - GENESIS_MS, clock_key=key("clock"))
    assert [row.name for _, row in state.rows(Organisation)] == [item.name for item in ORGANISATIONS]
    assert [row.organisation for _, row in state.rows(Validator)] == [0, 1, 2, 3]
    plan = state.get(Plan, 0)
    assert (plan.name, plan.due_ms) == ("main", notice_ms(plan.first_period))
    assert notice_ms(plan.first_period - 1) <= START_MS < notice_ms(plan.first_period)


def test_the_same_file_makes_the_same_state() -> None:
    one, other = (initial_batch(parse_genesis(TEXT.encode())) for _ in range(2))
    assert one[0].changes == other[0].changes
    assert one[1:] == other[1:]


# ---- the package's own files ---------------------------------------------------------------------------------------


def test_the_main_plan_has_the_published_parameters() -> None:
    plan = parse_plan(configs.text("plan_main.toml"))
    params = plan.params
    assert (plan.name, params.fee_bps, params.waiting_days, params.case_cap_fen) == ("main", 800, 90, 10)
    assert params.tiers == (TierBand(1, 0, 30_000_000), TierBand(1, 40, 10_000_000), TierBand(2, 0, 5_000_000))
    assert (params.year_cap_fen, params.lapse_fails, params.reinstate_days, params.file_days) == (18_800, 2, 60, 180)
    assert (params.jury_panel, params.jury_quorum, params.objectors_min) == (501, 100, 20)


def test_the_packages_files_are_valid() -> None:
    assert parse_chain_params(configs.text("chain_main.toml")).skip_blocks >= 1
    for name, validators in {"genesis_four.toml": 4, "genesis_seven.toml": 7}.items():
        assert len(parse_genesis(configs.text(name).encode()).validators()) == validators
    assert {"plan_main.toml", "chain_main.toml"} <= set(configs.names())
