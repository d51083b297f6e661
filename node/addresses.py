"""Where others listen, as operators write it: ``host:port``, and ``nodekeyhex@host:port`` for a peer."""

from dataclasses import dataclass


def split_address(text: str) -> tuple[str, int]:
    """(host, port) of ``host:port`` or ``[v6]:port``; raises ``ValueError`` with what is wrong."""
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError("must be host:port")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("must write an IPv6 host in brackets, [host]:port")
    if not (port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise ValueError("must end with a port from 0 to 65535")
    return host, int(port)


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """A peer of the static configuration: its X25519 node key (32 bytes) and where to dial it."""

    node_key: bytes
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.node_key.hex()}@{host}:{self.port}"


def parse_peer(text: str) -> PeerAddress:
    """Read ``nodekeyhex@host:port``; raises ``ValueError`` with what is wrong."""
    key, at, address = text.partition("@")
    if not at:
        raise ValueError("must be nodekeyhex@host:port")
    try:
        node_key = bytes.fromhex(key)
    except ValueError:
        node_key = b""
    if len(node_key) != 32 or len(key) != 64:
        raise ValueError("must begin with a node key of 64 hexadecimal digits")
    host, port = split_address(address)
    if port == 0:
        raise ValueError("must name the peer's port")
    return PeerAddress(node_key, host, port)
