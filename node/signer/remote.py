"""The node's side of a remote signer: it stands where ``SafetyRules`` and the signing log stand in-process.

Rules of this file

* ``append`` returns at once and ``on_durable`` is called later, as with the log; ``sign`` and ``beacon_proof`` wait for
  the answer, a fraction of a millisecond: the signer's disk is never in that way, for its log has a thread of its own.
* No answer within ``ANSWER_S``, or a connection that ends, is the end of the node (SIGNER_LOST): nothing is signed from
  then on, and a start asks the others what they saw (LastSeen). There is no second attempt on a broken session.
"""

import queue
import socket
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

from consensus.effects import SignRequest
from consensus.log import Position
from consensus.records import Record
from ledger.codec import decode, encode
from ledger.errors import InvariantViolation, MalformedBytes, OperatorError

from .wire import (
    FRAME_BYTES_MAX,
    LENGTH,
    Answer,
    Append,
    AskProof,
    AskSignature,
    Batched,
    Begin,
    Compacted,
    Durable,
    Fault,
    Hello,
    Refused,
    Retry,
    Signature,
    Welcome,
    frame_length,
    framed,
)

ANSWER_S: Final = 5.0
OPENING_S: Final = 60.0
"""The signer reads its record first, which may be large."""
DISK_FULL: Final = "DISK_FULL"
UNKNOWN_CRC: Final = 0
"""Of a position not yet durable: only the signer's log knows its checksum."""


def open_remote(path: Path, *, chain_id: bytes, known: Position) -> tuple["RemoteSigner", tuple[Record, ...]]:
    """Connect to the signer and begin a session; what its signing log holds.

    Raises ``OperatorError`` SIGNER_LOST, SIGNER_BUSY, and what opening the log there raises.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(OPENING_S)
    try:
        connection.connect(str(path))
        connection.sendall(framed(encode(Hello(chain_id, known.sequence, known.crc))))
        answer = _heard(connection)
    except (OSError, MalformedBytes) as error:
        connection.close()
        raise _lost(path, str(error)) from error
    if not isinstance(answer, Welcome):
        connection.close()
        raise _of_fault(answer) if isinstance(answer, Fault) else _lost(path, f"{type(answer).__name__} for a greeting")
    return RemoteSigner(path, connection, answer, known), answer.records


class RemoteSigner:
    """Keys and record of one seat, elsewhere. One owner uses it, in one thread; ``close`` it after its last use."""

    def __init__(self, path: Path, connection: socket.socket, welcome: Welcome, known: Position) -> None:
        self.path = path
        self.keys = welcome.validator_keys
        """Our validator public keys, the present one first."""
        self.sync_s = 0.0
        """How long the newest fsync over there took, for the metrics."""
        self._connection = connection
        self._end = welcome.sequence
        self._durable = Position(welcome.sequence, welcome.crc)
        self._answers: queue.SimpleQueue[Answer | OperatorError] = queue.SimpleQueue()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._on_durable: Callable[[Position], None] = _nobody
        self._on_stall: Callable[[OperatorError], None] = _nobody

    # ---- the signing log ----

    @property
    def durable(self) -> Position:
        """The last record known to be on the signer's disk."""
        return self._durable

    def start(
        self,
        post: Callable[[Callable[[], None]], object],
        on_durable: Callable[[Position], None],
        on_stall: Callable[[OperatorError], None],
    ) -> None:
        """Begin to listen; as ``VoteLog.start``."""
        self._on_durable = on_durable
        self._on_stall = on_stall
        self._connection.settimeout(None)
        self._thread = threading.Thread(target=self._listen, args=(post,), name="remote-signer", daemon=True)
        self._thread.start()

    def append(self, records: Iterable[Record]) -> Position:
        """Begin to write the records; the position of the last one, its checksum not known yet.

        Raises ``OperatorError`` SIGNER_LOST.
        """
        new = tuple(records)
        self._say(Append(new))
        self._end += len(new)
        return Position(self._end, UNKNOWN_CRC)

    def append_now(self, records: Iterable[Record]) -> Position:
        """Write the records and wait until they are durable over there; this was not started.

        Raises ``OperatorError`` SIGNER_LOST, also when the signer refuses them, and what its disk says.
        """
        end = self.append(records)
        try:
            while self._durable.sequence < end.sequence:
                answer = _heard(self._connection)
                if isinstance(answer, Fault):
                    raise _of_fault(answer)
                if not isinstance(answer, Durable):
                    raise _lost(self.path, str(answer))
                self._durable = Position(answer.sequence, answer.crc)
        except (OSError, MalformedBytes) as error:
            raise _lost(self.path, str(error)) from error
        return self._durable

    def batched(self, position: Position) -> None:
        """The database's newest synced batch names this position."""
        self._say(Batched(position.sequence, position.crc))

    def compact(self, epoch: int, height: int) -> None:
        """Everything up to ``height`` is decided and its batch synced."""
        self._say(Compacted(epoch, height))

    def retry(self) -> None:
        """Try again what a full disk has refused."""
        self._say(Retry())

    def close(self) -> None:
        """End the session; the signer writes what waits."""
        self._closing = True
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:  # the other side has gone already
            self._closing = True
        if self._thread is not None:
            self._thread.join()
        self._connection.close()

    # ---- SafetyRules ----

    def begin(self, epoch: int, height: int, validator_keys: tuple[bytes, ...]) -> None:
        """``SafetyRules.begin`` over there."""
        self._say(Begin(epoch, height, validator_keys))

    def recorded(self, records: Iterable[Record]) -> None:
        """Nothing to do: the signer tells its rules when its own log is durable."""

    def sign(self, request: SignRequest) -> bytes:
        """The 64-byte signature. Raises ``InvariantViolation`` when refused, ``OperatorError`` SIGNER_LOST."""
        return self._asked(AskSignature(request.epoch, request.message, request.key))

    def beacon_proof(self, alpha: bytes) -> bytes:
        """The 80-byte ECVRF proof over ``alpha``. Raises ``OperatorError`` SIGNER_LOST."""
        return self._asked(AskProof(alpha))

    # ---- the socket ----

    def _asked(self, ask: AskSignature | AskProof) -> bytes:
        self._say(ask)
        try:
            answer = self._answers.get(timeout=ANSWER_S)
        except queue.Empty as error:
            raise _lost(self.path, f"no answer within {ANSWER_S:.0f} s") from error
        match answer:
            case Signature():
                return answer.data
            case Refused():
                raise InvariantViolation(f"the signer refuses: {answer.reason}")
            case OperatorError():
                raise answer
            case _:
                raise _lost(self.path, f"{type(answer).__name__} where a signature was asked for")

    def _say(self, ask: Any) -> None:
        try:
            self._connection.sendall(framed(encode(ask)))
        except OSError as error:
            raise _lost(self.path, str(error)) from error

    def _listen(self, post: Callable[[Callable[[], None]], object]) -> None:
        try:
            while True:
                answer = _heard(self._connection)
                if isinstance(answer, Durable):
                    post(partial(self._report, answer))
                elif isinstance(answer, Fault):
                    self._stall(post, _of_fault(answer))
                else:
                    self._answers.put(answer)
        except (OSError, MalformedBytes) as error:
            if not self._closing:
                self._stall(post, _lost(self.path, str(error)))

    def _stall(self, post: Callable[[Callable[[], None]], object], error: OperatorError) -> None:
        if error.code != DISK_FULL:
            self._answers.put(error)
        post(partial(self._on_stall, error))

    def _report(self, durable: Durable) -> None:
        self.sync_s = durable.sync_us / 1_000_000
        self._durable = Position(durable.sequence, durable.crc)
        self._on_durable(self._durable)


def _heard(connection: socket.socket) -> Answer:
    """The next answer. Raises ``OSError`` when the connection ends, ``MalformedBytes``."""
    length = frame_length(_exactly(connection, LENGTH.size))
    answer: Answer = decode(Answer, _exactly(connection, length), bytes_max=FRAME_BYTES_MAX)
    return answer


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(min(size - len(parts), 1 << 20))
        if not part:
            raise ConnectionResetError("the connection ended")
        parts += part
    return bytes(parts)


def _of_fault(fault: Fault) -> OperatorError:
    return OperatorError(fault.code, fault.what, fault.why, fault.next, exit_code=fault.exit_code)


def _lost(path: Path, why: str) -> OperatorError:
    return OperatorError(
        "SIGNER_LOST",
        f"the signer at {path} does not answer",
        why,
        "start it: `huzhu signer --home HOME --socket PATH`, then this node again",
        exit_code=4,
    )


def _nobody(_: object) -> None:
    raise InvariantViolation("the signer reports before it was started")
