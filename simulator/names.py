"""Names of simulated nodes on links: the node key says the number."""


def peer_key(number: int) -> bytes:
    """The node key of node ``number``'s links."""
    return b"node" + number.to_bytes(4, "big")


def number_of(peer: bytes) -> int:
    """The reverse of ``peer_key``."""
    return int.from_bytes(peer[4:], "big")
