"""Free ports for nodes that must know each other's before they start.

Ports are taken below the kernel's ephemeral range. Inside it, the source port of anybody's outgoing connection may take
a port while its node is down; worse, a node that redials a dead neighbour on such a port can by chance connect to
itself. A port is held by a bound socket until its node is about to start; whoever loses the remaining race tries again.
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import SystemRandom
from typing import Final

from ledger.errors import OperatorError

HOST: Final = "127.0.0.1"
PORT_MIN: Final = 20_000
EPHEMERAL_MIN: Final = 32_768
"""Where Linux begins to take source ports, unless told otherwise."""
TRIES_MAX: Final = 1_000
_RANGE_FILE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


def _end() -> int:
    try:
        low = int(_RANGE_FILE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        low = EPHEMERAL_MIN
    return low if low > PORT_MIN + 1_000 else 65_536


@contextmanager
def hold_ports(count: int) -> Iterator[list[int]]:
    """``count`` different free loopback ports, held until the block ends. Raises ``OperatorError`` NO_PORTS."""
    random, end = SystemRandom(), _end()
    ports: list[int] = []
    with ExitStack() as held:
        for _ in range(TRIES_MAX):
            if len(ports) == count:
                break
            port = random.randrange(PORT_MIN, end)
            holder = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            try:
                holder.bind((HOST, port))
            except OSError:
                continue
            ports.append(port)
        if len(ports) < count:
            raise OperatorError(
                "NO_PORTS", f"{count} free ports are needed, {len(ports)} were found", "", "stop other networks first"
            )
        yield ports
