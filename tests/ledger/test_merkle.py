"""RFC 6962 trees: the known vectors, the recursive definition, and every path."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import merkle
from ledger.errors import InvariantViolation

# The leaves and tree hashes of the reference implementation (google/certificate-transparency, merkle_tree_test).
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# RFC 9162 §2.1.5: the paths in its seven-leaf example, by the recursive definition below.
TREES = st.lists(st.binary(max_size=8), min_size=1, max_size=40)


def recursive_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 §2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = 1 << ((len(leaves) - 1).bit_length() - 1)
    return sha256(b"\x01" + recursive_root(leaves[:k]) + recursive_root(leaves[k:])).digest()


def recursive_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962 §2.1.1, word for word."""
    if len(leaves) == 1:
        return []
    k = 1 << ((len(leaves) - 1).bit_length() - 1)
    if index < k:
        return [*recursive_path(index, leaves[:k]), recursive_root(leaves[k:])]
    return [*recursive_path(index - k, leaves[k:]), recursive_root(leaves[:k])]


@pytest.mark.parametrize("size", range(1, 9))
def test_the_known_roots(size: int) -> None:
    assert merkle.root(LEAVES[:size]).hex() == ROOTS[size - 1]


def test_the_root_of_nothing_is_the_hash_of_nothing() -> None:
    assert merkle.root([]) == merkle.EMPTY_ROOT == sha256(b"").digest()


@settings(max_examples=80, deadline=None)
@given(TREES)
def test_root_and_paths_are_those_of_the_recursive_definition(leaves: list[bytes]) -> None:
    assert merkle.root(leaves) == recursive_root(leaves)
    for index in range(len(leaves)):
        assert merkle.prove(leaves, index) == recursive_path(index, leaves)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 16, 17])
def test_a_path_shows_its_leaf_at_its_index_in_its_size_and_nothing_else(size: int) -> None:
    leaves = [bytes((i,)) for i in range(size)]
    root = merkle.root(leaves)
    for index, leaf in enumerate(leaves):
        path = merkle.prove(leaves, index)
        assert merkle.verify(root, leaf, index, size, path)
        assert not merkle.verify(root, leaf + b"x", index, size, path)
        assert not merkle.verify(b"\x00" * 32, leaf, index, size, path)
        assert not merkle.verify(root, leaf, index, size, [*path, bytes(32)])
        for other in range(-1, size + 1):
            if other != index:
                assert not merkle.verify(root, leaf, other, size, path)
        for at in range(len(path)):
            assert not merkle.verify(root, leaf, index, size, path[:at] + path[at + 1 :])
            assert not merkle.verify(root, leaf, index, size, [*path[:at], path[at][:31], *path[at + 1 :]])


def test_an_inner_node_never_passes_as_a_leaf() -> None:
    leaves = [b"a", b"b", b"c", b"d"]
    left = sha256(b"\x00a").digest() + sha256(b"\x00b").digest()
    right = sha256(b"\x01" + sha256(b"\x00c").digest() + sha256(b"\x00d").digest()).digest()
    assert not merkle.verify(merkle.root(leaves), left, 0, 2, [right])


@settings(max_examples=80, deadline=None)
@given(
    st.binary(max_size=32), st.binary(max_size=9), st.integers(-3, 2**70), st.integers(-3, 2**70),
    st.lists(st.binary(min_size=30, max_size=33), max_size=6),
)  # fmt: skip
def test_no_input_makes_verify_raise_or_accept(
    root: bytes, leaf: bytes, index: int, size: int, path: list[bytes]
) -> None:
    assert not merkle.verify(root, leaf, index, size, path)


@pytest.mark.parametrize("index", [-1, 3])
def test_a_leaf_that_is_not_there_has_no_path(index: int) -> None:
    with pytest.raises(InvariantViolation):
        merkle.prove([b"a", b"b", b"c"], index)
