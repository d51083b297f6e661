"""Keys encrypted at rest: what opens them, what does not, and where the passphrase comes from."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import OperatorError
from node.keys import (
    KeyKind,
    create_node_keys,
    generate,
    key_path,
    list_keys,
    load_node_keys,
    protect_key,
    read_card,
    read_key,
    render_key,
    write_key,
)
from node.passphrase import FILE_VARIABLE, VARIABLE, from_surroundings, new_passphrase
from node.protection import (
    LEAST,
    MEMORY_BYTES_MAX,
    MEMORY_BYTES_MIN,
    PASSES_MAX,
    PASSPHRASE_BYTES_MAX,
    Cost,
    WrongPassphraseError,
    seal,
    unseal,
)


def code_of(path: Path, passphrase: bytes = b"right") -> str:
    with pytest.raises(OperatorError) as caught:
        read_key(path, ask=lambda _: passphrase)
    return caught.value.code


@pytest.mark.parametrize("kind", list(KeyKind))
def test_an_encrypted_key_opens_with_its_passphrase_only(tmp_path: Path, kind: KeyKind) -> None:
    pair, path = generate(kind), tmp_path / "a.key"
    write_key(path, pair, b"right", LEAST)
    assert read_key(path, kind, lambda _: b"right") == pair
    assert code_of(path, b"wrong") == "KEY_LOCKED"
    assert pair.secret.hex() not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_public_half_is_read_without_the_passphrase(tmp_path: Path) -> None:
    pair = generate(KeyKind.ORGANISATION)
    write_key(tmp_path / "bank.key", pair, b"right", LEAST)
    assert [(path.name, card.public, card.protection) for path, card in list_keys(tmp_path)] == [
        ("bank.key", pair.public, "argon2id")
    ]


def test_each_altered_digit_of_an_encrypted_key_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    text = render_key(generate(KeyKind.VALIDATOR), b"right", LEAST)
    for name in ("salt", "sealed", "public"):
        start = text.index(f'{name} = "') + len(name) + 4
        digit = "0" if text[start] != "0" else "1"
        path.write_text(text[:start] + digit + text[start + 1 :])
        path.chmod(0o600)
        assert code_of(path) in ("KEY_LOCKED", "KEY_MALFORMED"), name


def test_a_file_cannot_be_relabelled_by_who_cannot_open_it(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    text = render_key(generate(KeyKind.VALIDATOR), b"right", LEAST)
    path.write_text(text.replace('kind = "validator"', 'kind = "beacon"'))
    path.chmod(0o600)
    assert code_of(path) == "KEY_LOCKED"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("passes = 1", "passes = 0"),
        ("passes = 1", f"passes = {PASSES_MAX + 1}"),
        ("passes = 1", "passes = true"),
        (f"memory_bytes = {MEMORY_BYTES_MIN}", f"memory_bytes = {MEMORY_BYTES_MIN - 1}"),
        (f"memory_bytes = {MEMORY_BYTES_MIN}", f"memory_bytes = {MEMORY_BYTES_MAX + 1}"),
        ('salt = "', 'salt = "00'),
        ('salt = "', 'salt = "zz'),
        ('sealed = "', 'secret = "'),
        ("version = 1", "version = 2"),
    ],
)
def test_a_cost_out_of_bounds_or_a_damaged_field_is_refused_before_any_work(tmp_path: Path, old: str, new: str) -> None:
    path, text = tmp_path / "a.key", render_key(generate(KeyKind.VALIDATOR), b"right", LEAST)
    assert old in text
    path.write_text(text.replace(old, new))
    path.chmod(0o600)
    asked: list[str] = []
    with pytest.raises(OperatorError) as caught:
        read_key(path, ask=lambda wanted: asked.append(wanted) or b"right")  # type: ignore[func-returns-value]
    assert (caught.value.code, asked) == ("KEY_MALFORMED", [])


def test_a_sealed_secret_of_another_length_is_no_key(tmp_path: Path) -> None:
    pair = generate(KeyKind.VALIDATOR)
    text, short = render_key(pair, b"right", LEAST), seal(pair.secret[:-1], "validator", b"right", LEAST)
    lines = [line for line in text.splitlines() if not line.startswith(("salt", "sealed"))]
    path = tmp_path / "a.key"
    path.write_text("\n".join([*lines, f'salt = "{short.salt.hex()}"', f'sealed = "{short.box.hex()}"']))
    path.chmod(0o600)
    assert code_of(path) == "KEY_MALFORMED"


@given(secret=st.binary(min_size=1, max_size=64), label=st.sampled_from(["node", "beacon"]), other=st.binary())
def test_what_is_sealed_opens_under_the_same_label_and_passphrase_only(secret: bytes, label: str, other: bytes) -> None:
    sealed = seal(secret, label, b"right", LEAST)
    assert unseal(sealed, label, b"right") == secret
    with pytest.raises(WrongPassphraseError):
        unseal(sealed, f"{label}s", b"right")
    if other != b"right":
        with pytest.raises(WrongPassphraseError):
            unseal(sealed, label, other)


@pytest.mark.parametrize("cost", [Cost(0, MEMORY_BYTES_MIN), Cost(1, MEMORY_BYTES_MAX + 1)])
def test_a_cost_out_of_bounds_is_not_sealed_with(cost: Cost) -> None:
    with pytest.raises(ValueError, match="out of bounds"):
        seal(b"secret", "node", b"right", cost)


def test_protecting_changes_the_passphrase_and_not_the_key(tmp_path: Path) -> None:
    pair, path = generate(KeyKind.MEMBER), tmp_path / "a.key"
    write_key(path, pair)
    protect_key(path, b"first", cost=LEAST)
    assert code_of(path, b"second") == "KEY_LOCKED"
    protect_key(path, b"second", lambda _: b"first", LEAST)
    assert read_key(path, ask=lambda _: b"second") == pair
    protect_key(path, None, lambda _: b"second")
    assert (read_key(path), read_card(path).protection) == (pair, "none")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.key"]


def test_a_node_asks_once_for_its_three_keys(tmp_path: Path) -> None:
    create_node_keys(tmp_path, passphrase=b"right", cost=LEAST)
    assert not any(create_node_keys(tmp_path).values())
    asked: list[str] = []

    def ask(wanted_for: str) -> bytes:
        asked.append(wanted_for)
        return b"right"

    assert load_node_keys(tmp_path, ask=ask).validator is not None
    assert asked == [str(key_path(tmp_path, KeyKind.NODE))]


def test_making_keys_again_refuses_a_file_of_another_kind(tmp_path: Path) -> None:
    write_key(key_path(tmp_path, KeyKind.NODE), generate(KeyKind.BEACON))
    with pytest.raises(OperatorError) as caught:
        create_node_keys(tmp_path)
    assert caught.value.code == "KEY_WRONG_KIND"


# ---- where the passphrase comes from ---------------------------------------------------------------------------------


def nobody(question: str) -> str | None:
    return None


def private(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_file_goes_before_the_environment_and_that_before_the_terminal(tmp_path: Path) -> None:
    file = private(tmp_path / "p", "of the file\n")
    both = {FILE_VARIABLE: file, VARIABLE: "of the environment"}
    assert from_surroundings("x", both, nobody) == b"of the file"
    assert from_surroundings("x", {VARIABLE: "of the environment"}, nobody) == b"of the environment"
    assert from_surroundings("x", {}, lambda question: "typed") == b"typed"


def refusal(environment: dict[str, str], typed: str | None = None) -> str:
    with pytest.raises(OperatorError) as caught:
        from_surroundings("x", environment, lambda question: typed)
    return caught.value.code


def test_nobody_to_ask_is_an_error_that_says_what_to_do() -> None:
    assert refusal({}) == "PASSPHRASE_NEEDED"


def test_a_passphrase_file_others_can_read_is_refused(tmp_path: Path) -> None:
    assert refusal({FILE_VARIABLE: private(tmp_path / "p", "secret", 0o640)}) == "PASSPHRASE_UNUSABLE"
    assert refusal({FILE_VARIABLE: str(tmp_path / "none")}) == "PASSPHRASE_UNUSABLE"


def test_a_passphrase_has_from_one_to_1024_bytes() -> None:
    assert refusal({VARIABLE: ""}) == "PASSPHRASE_UNUSABLE"
    assert refusal({VARIABLE: "x" * (PASSPHRASE_BYTES_MAX + 1)}) == "PASSPHRASE_UNUSABLE"
    assert len(from_surroundings("x", {VARIABLE: "x" * PASSPHRASE_BYTES_MAX}, nobody)) == PASSPHRASE_BYTES_MAX


def test_a_new_passphrase_is_typed_twice() -> None:
    typed = iter(["one", "one", "one", "two"])
    assert new_passphrase("x", {}, lambda question: next(typed)) == b"one"
    with pytest.raises(OperatorError) as caught:
        new_passphrase("x", {}, lambda question: next(typed))
    assert caught.value.code == "PASSPHRASE_UNUSABLE"
    assert new_passphrase("x", {VARIABLE: "once"}, nobody) == b"once"
