"""``huzhu signer``: the process that holds a validator's keys and signing record, and signs what the rules allow.

Rules of this file

* One node at a time: a second connection is told so and closed. A session begins by reading the record from the disk,
  exactly as a node does at a start; it ends with the connection.
* Records are written and synced by the signer's own log before ``SafetyRules`` hears of them; a signature is asked for
  after that. The socket brings no key out and no record in that the log does not hold first.
* A frame that cannot be read ends the session. What the rules refuse is answered with ``Refused`` and ends it too.
* The socket belongs to owner and group (0660): put it where only the node's group can go.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from consensus.effects import SignRequest
from consensus.log import Position
from consensus.records import Record, RecoveredRecord
from consensus.safety import SafetyRules
from ledger.codec import decode, encode
from ledger.errors import HuzhuError, InvariantViolation, MalformedBytes, OperatorError, PeerError
from ledger.recovery import check_signed

from ..config import Config
from ..files import Files
from ..keys import load_seat_keys
from ..logs import Log
from ..unix_socket import bound
from ..votelog import ROTATE_BYTES, VoteLog, open_log
from . import wire

SOCKET_MODE: Final = 0o660
_BUSY: Final = OperatorError(
    "SIGNER_BUSY", "the signer serves another node", "a record has one user", "stop that one first", exit_code=1
)


class Signer:
    """The keys of one home, served on a Unix socket. ``serve`` runs until ``stop``."""

    def __init__(
        self, config: Config, log: Log, *, files: Files | None = None, rotate_bytes: int = ROTATE_BYTES
    ) -> None:
        """Reads the keys; the record is read for each session. Raises ``OperatorError``."""
        keys = load_seat_keys(config.keys_path)
        if not keys:
            raise OperatorError(
                "NOT_A_VALIDATOR", f"there is no validator in {config.keys_path}", "", "check --home", exit_code=3
            )
        self._data = config.data_path
        self._pairs, self._beacons = keys[0::2], keys[1::2]
        self._log = log
        self._files = files
        self._rotate_bytes = rotate_bytes
        self._busy = False
        self._stop = asyncio.Event()
        self._sessions: dict[asyncio.StreamWriter, asyncio.Future[None]] = {}

    def stop(self) -> None:
        """End the session and the server."""
        self._stop.set()

    async def serve(self, path: Path, ready: Callable[[], None] = lambda: None) -> None:
        """Listen on ``path`` until ``stop``. Raises ``OperatorError`` SIGNER_SOCKET."""
        try:
            server = await asyncio.start_unix_server(self._connected, sock=bound(path, SOCKET_MODE))
        except OSError as error:
            raise OperatorError(
                "SIGNER_SOCKET", f"cannot listen on {path}", str(error), "choose another --socket", exit_code=1
            ) from error
        async with server:
            ready()
            await self._stop.wait()
            for writer in self._sessions:
                writer.close()
            await asyncio.gather(*self._sessions.values())
        _remove(path)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sessions[writer] = ended
        try:
            await self._greeted(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self._log.info("session ended")
        except (MalformedBytes, PeerError) as error:
            self._log.warning("session refused", why=str(error))
        finally:
            writer.close()
            del self._sessions[writer]
            ended.set_result(None)

    async def _greeted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = await _heard(reader)
        if not isinstance(hello, wire.Hello):
            raise PeerError("SIGNER_PROTOCOL", "a session begins with Hello")
        if self._busy:
            _say(writer, _fault(_BUSY))
            await writer.drain()
            return
        self._busy = True
        try:
            await self._session(hello, reader, writer)
        finally:
            self._busy = False

    async def _session(self, hello: wire.Hello, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            session = self._open(hello, writer)
        except OperatorError as error:
            _say(writer, _fault(error))
            await writer.drain()
            return
        self._log.info("session begun", records=len(session.records))
        try:
            while True:
                session.perform(await _heard(reader))
                await writer.drain()
        except InvariantViolation as error:
            self._log.error("refused to sign", why=str(error))
            _say(writer, wire.Refused(str(error)))
            await writer.drain()
        finally:
            await asyncio.to_thread(session.close)

    def _open(self, hello: wire.Hello, writer: asyncio.StreamWriter) -> "_Session":
        known = Position(hello.sequence, hello.crc)
        log, decoded = open_log(
            self._data, chain_id=hello.chain_id, known=known, files=self._files, rotate_bytes=self._rotate_bytes
        )
        records = tuple(decoded.records)
        safety = SafetyRules(
            hello.chain_id,
            [pair.secret for pair in self._pairs],
            self._beacons[0].secret,
            records,
            next_beacon_seed=self._beacons[1].secret if len(self._beacons) > 1 else None,
        )
        public = tuple(pair.public for pair in self._pairs)
        _say(writer, wire.Welcome(public, records, log.end.sequence, log.end.crc))
        return _Session(hello.chain_id, safety, log, records, writer)


class _Session:
    """One node's use of the keys."""

    def __init__(
        self,
        chain_id: bytes,
        safety: SafetyRules,
        log: VoteLog,
        records: tuple[Record, ...],
        writer: asyncio.StreamWriter,
    ) -> None:
        self.records = records
        self._chain_id = chain_id
        self._safety = safety
        self._log = log
        self._writer = writer
        self._waiting: deque[tuple[int, tuple[Record, ...]]] = deque()
        log.start(asyncio.get_running_loop().call_soon_threadsafe, self._durable, self._stalled)

    def perform(self, ask: wire.Ask) -> None:
        """Do what the node asks for. Raises ``InvariantViolation`` when the rules forbid it."""
        action = _PERFORM.get(type(ask))
        if action is None:
            raise PeerError("SIGNER_PROTOCOL", f"{type(ask).__name__} in an open session")
        try:
            action(self, ask)
        except OperatorError as error:
            _say(self._writer, _fault(error))

    def close(self) -> None:
        """Write what waits, give the record's lock back. Blocks."""
        self._log.close()

    def _begin(self, ask: wire.Begin) -> None:
        self._safety.begin(ask.epoch, ask.height, ask.validator_keys)

    def _append(self, ask: wire.Append) -> None:
        for record in ask.records:
            if isinstance(record, RecoveredRecord):  # what does not count must not even be written
                check_signed(record.recovery, self._chain_id, record.announced)
        self._waiting.append((self._log.append(ask.records).sequence, ask.records))

    def _batched(self, ask: wire.Batched) -> None:
        self._log.batched(Position(ask.sequence, ask.crc))

    def _compact(self, ask: wire.Compacted) -> None:
        self._log.compact(ask.epoch, ask.height)

    def _retry(self, _: wire.Retry) -> None:
        self._log.retry()

    def _sign(self, ask: wire.AskSignature) -> None:
        _say(self._writer, wire.Signature(self._safety.sign(SignRequest(ask.epoch, ask.message, ask.key))))

    def _prove(self, ask: wire.AskProof) -> None:
        _say(self._writer, wire.Signature(self._safety.beacon_proof(ask.alpha)))

    def _durable(self, position: Position) -> None:
        try:
            while self._waiting and self._waiting[0][0] <= position.sequence:
                self._safety.recorded(self._waiting.popleft()[1])
        except HuzhuError as error:
            _say(self._writer, wire.Refused(str(error)))
            self._writer.close()
            return
        _say(self._writer, wire.Durable(position.sequence, position.crc, int(self._log.sync_s * 1_000_000)))

    def _stalled(self, error: OperatorError) -> None:
        _say(self._writer, _fault(error))
        if error.code != "DISK_FULL":
            self._writer.close()


_PERFORM: Final[dict[type[Any], Callable[[_Session, Any], None]]] = {
    wire.Begin: _Session._begin,
    wire.Append: _Session._append,
    wire.Batched: _Session._batched,
    wire.Compacted: _Session._compact,
    wire.Retry: _Session._retry,
    wire.AskSignature: _Session._sign,
    wire.AskProof: _Session._prove,
}


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


async def _heard(reader: asyncio.StreamReader) -> wire.Ask:
    """The next frame. Raises ``MalformedBytes``, ``asyncio.IncompleteReadError`` at the end."""
    length = wire.frame_length(await reader.readexactly(wire.LENGTH.size))
    ask: wire.Ask = decode(wire.Ask, await reader.readexactly(length), bytes_max=wire.FRAME_BYTES_MAX)
    return ask


def _say(writer: asyncio.StreamWriter, answer: Any) -> None:
    if not writer.is_closing():
        writer.write(wire.framed(encode(answer)))


def _fault(error: OperatorError) -> wire.Fault:
    return wire.Fault(error.code, error.what, error.why, error.next, error.exit_code)
