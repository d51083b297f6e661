"""A dialler that speaks the links' protocol by hand, so that it can also speak it wrongly (NODE §1)."""

import socket
from types import TracebackType
from typing import Final, Self

from ledger.protocol import NEWEST, OLDEST
from p2p.frames import Assembler, Kind, Message, OutQueue, seal
from p2p.handshake import Bye, Control, Welcome, control_message, parse_control
from p2p.hello import HEAD_BYTES, Hello, body_bytes
from p2p.limits import Channel
from p2p.noise import Handshake, NodeKey, Session

SECONDS: Final = 15.0


class Dialler:
    """One connection to a node's port for links. Context manager; every wait is bounded."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=SECONDS)
        self._assembler = Assembler()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    # ---- raw ----

    def send(self, data: bytes) -> bool:
        """Send everything; false when the other side has hung up."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def read(self, count: int) -> bytes:
        """Exactly so many bytes. Raises ``EOFError`` when the other side hung up before."""
        data = b""
        while len(data) < count:
            try:
                part = self.socket.recv(count - len(data))
            except ConnectionError as error:
                raise EOFError from error
            if not part:
                raise EOFError
            data += part
        return data

    def hung_up(self) -> bool:
        """Whether the other side ends the connection within the bound; what it still says is read and forgotten."""
        try:
            while self.socket.recv(65_536):
                pass
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True

    # ---- as a node would ----

    def shake(self, key: NodeKey, chain_id: bytes) -> Control:
        """Hello, handshake, and the other side's verdict. Raises ``EOFError`` when it hangs up on the way."""
        ours = Hello(chain_id, OLDEST, NEWEST, "e2e").encode()
        self.send(ours)
        head = self.read(HEAD_BYTES)
        theirs = head + self.read(body_bytes(head))
        noise = Handshake(key, initiator=True, prologue=ours + theirs)
        self.send(noise.write())
        noise.read(self.read(Handshake.LENGTHS[1]))
        self.send(noise.write())
        self._session: Session = noise.session()
        verdict = self.hear()
        if isinstance(verdict, Welcome):
            self.say(control_message(Welcome(True)))
        return verdict

    def say(self, message: Message) -> bool:
        """Send one message in frames."""
        queue = OutQueue()
        queue.push(message)
        sent = True
        while (frame := queue.next_frame()) is not None:
            sent = self.frame(frame) and sent
        return sent

    def frame(self, plaintext: bytes) -> bool:
        """Send one frame, whatever it holds."""
        return self.send(seal(self._session.send, plaintext))

    def hear(self) -> Control:
        """The next control message; those of other classes are passed over. Raises ``EOFError``."""
        while True:
            length = int.from_bytes(self.read(2), "big")
            message = self._assembler.feed(self._session.receive.decrypt(self.read(length)))
            if message is not None and message.channel is Channel.CONTROL:
                return parse_control(message)

    def farewell(self) -> Bye:
        """The reason with which the other side ends the link. Raises ``EOFError`` when it gives none."""
        while True:
            said = self.hear()
            if isinstance(said, Bye):
                return said


def verdict(address: tuple[str, int], key: NodeKey, chain_id: bytes) -> Control:
    """What a node says to ``key``."""
    with Dialler(address) as dialler:
        return dialler.shake(key, chain_id)


def plain(channel: Channel, payload: bytes) -> Message:
    """A message that is no question."""
    return Message(channel, Kind.MESSAGE, payload)
