"""Clients that keep a network busy and remember what it promised them.

Each client sends small lists and waits for ``committed``. When a node does not answer, the *same bytes* go to the next
one, as an honest client does who does not know what became of them: so a transaction executed twice would be seen.
"""

import threading
from http.client import HTTPException
from itertools import cycle
from types import TracebackType
from typing import Final, Self

from ledger.transactions import transaction_id

from .network import EndToEndError, LiveNetwork, until

CLIENTS: Final = 2
LIST_TRANSACTIONS: Final = 10
WAIT_SECONDS: Final = 4
RETRYABLE: Final = frozenset({"NOT_READY", "MEMPOOL_FULL", "TOO_MANY_WAITERS"})


class Load:
    """A context: the clients run inside, and have ended at its end."""

    def __init__(self, network: LiveNetwork) -> None:
        self._network = network
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.committed: dict[str, int] = {}
        """Height by id of every transaction that a node reported as committed."""
        self.faults: list[str] = []
        """Answers that no honest client may get."""
        self._clients = [threading.Thread(target=self._client, args=(at,)) for at in range(CLIENTS)]

    def __enter__(self) -> Self:
        for client in self._clients:
            client.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is None and self.faults:
            raise EndToEndError("; ".join(self.faults[:5]))

    def stop(self) -> None:
        """Send no more; returns when every client has ended. Idempotent."""
        self._stop.set()
        for client in self._clients:
            client.join()

    def await_more(self, count: int, seconds: float) -> None:
        """Wait until ``count`` more transactions are reported as committed."""
        goal = len(self.committed) + count
        until(lambda: len(self.committed) >= goal, seconds, f"{count} more transactions are committed under load")

    def _client(self, at: int) -> None:
        nodes = list(self._network.nodes.values())
        for node in cycle(nodes[at:] + nodes[:at]):
            if self._stop.is_set():
                return
            if not node.serving:
                self._stop.wait(0.01)
                continue
            raws = [self._network.enrolment() for _ in range(LIST_TRANSACTIONS)]
            self._until_committed(raws, at)

    def _until_committed(self, raws: list[bytes], at: int) -> None:
        """Send the same bytes, to one node after the other, until every one of them is reported as committed."""
        nodes = list(self._network.nodes.values())
        open_ = {transaction_id(raw).hex(): raw for raw in raws}
        for node in cycle(nodes[at:] + nodes[:at]):
            if self._stop.is_set() or not open_:
                return
            if not node.serving:
                self._stop.wait(0.01)
                continue
            try:
                answer = node.api.submit_many(list(open_.values()), timeout=WAIT_SECONDS, seconds=WAIT_SECONDS + 2)
            except (OSError, HTTPException):  # killed, paused, or starting: what became of it is unknown
                self._stop.wait(0.02)
                continue
            for item in answer.json().get("transactions", []):
                self._note(item, open_)

    def _note(self, item: dict[str, object], open_: dict[str, bytes]) -> None:
        tx_id, status, code = str(item["id"]), item["status"], item.get("code")
        with self._lock:
            if status == "committed":
                open_.pop(tx_id, None)
                height = int(str(item["height"]))
                if self.committed.setdefault(tx_id, height) != height:
                    self.faults.append(f"{tx_id} was reported at {self.committed[tx_id]} and at {height}")
                if code != "OK":
                    self.faults.append(f"{tx_id} was executed with {code}")
            elif status == "refused" and code not in RETRYABLE:
                self.faults.append(f"{tx_id} was refused: {code}")
