"""Routes for whoever runs the node: status, peers, liveness, readiness, metrics, the genesis file."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from ledger.limits import VALIDITY_WINDOW_MS

from ..metrics import CONTENT_TYPE
from . import asked
from .answers import RETRY_AFTER_SECONDS, answer, plain
from .ledger_views import ledger_time_ms
from .view import NodeView

COUNT_MAX: Final = 2**31


def status_of(view: NodeView) -> dict[str, Any]:
    """Everything ``/v1/status`` says."""
    at, status = view.current, view.status()
    header = at.blocks.header(at.height)
    head = at.blocks.head()
    more = plain(status)
    parts = more.pop("more")
    return {
        **more,
        "chain_id": view.chain_id.hex(),
        "height": at.height,
        "hash": "" if head is None else head.hash.hex(),
        "state_root": "" if head is None else head.state_root.hex(),
        "receipts_root": "" if head is None else head.receipts_root.hex(),
        "time_ms": 0 if header is None else header.time_ms,
        "ledger_time_ms": ledger_time_ms(at),
        "clock_ms": view.clock_ms(),
        "behind": max(0, status.best_height - at.height),
        "mempool": {"transactions": len(view.mempool), "bytes": view.mempool.size_bytes},
        "validity_window_ms": VALIDITY_WINDOW_MS,
        **parts,
    }


def unready_reasons(view: NodeView, blocks_behind_max: int, peers_min: int) -> list[str]:
    """Why the node should get no clients now; empty: it is ready."""
    status = view.status()
    behind = status.best_height - view.current.height
    reasons = []
    if not status.informed:
        reasons.append("fewer than f + 1 validators have told their heads: nobody knows how far behind this node is")
    if behind > blocks_behind_max:
        reasons.append(f"{behind} blocks behind the best known head, at most {blocks_behind_max} asked for")
    if status.syncing:
        reasons.append("catching up")
    if status.peers_connected < peers_min:
        reasons.append(f"{status.peers_connected} peers connected, at least {peers_min} asked for")
    if status.role == "validator" and not status.signing:
        reasons.append(f"not signing: {status.not_signing_because or 'unknown'}")
    if status.disk_shortage is not None:
        reasons.append(status.disk_shortage)
    if status.more.get("reset_needed"):
        reasons.append(f"reset needed: {status.more['reset_needed']}")
    if not view.loop_alive:
        reasons.append("the event loop is stalled")
    return reasons


class Operating:
    """Routes about the node itself."""

    def __init__(self, view: NodeView) -> None:
        self._view = view

    async def status(self, request: web.Request) -> web.StreamResponse:
        """Where the node is: head, roots, round, role, peers, mempool, clocks."""
        return answer(status_of(self._view))

    async def peers(self, request: web.Request) -> web.StreamResponse:
        """Every known node: its link, traffic, clock, why it is not connected; and who was refused when it dialled."""
        strangers = [plain(stranger) for stranger in self._view.strangers()]
        return answer({"peers": [plain(peer) for peer in self._view.peers()], "strangers": strangers})

    async def genesis(self, request: web.Request) -> web.StreamResponse:
        """The exact bytes of the genesis file; their SHA-256 is the chain id."""
        return web.Response(body=self._view.genesis_raw, content_type="application/toml")

    async def live(self, request: web.Request) -> web.StreamResponse:
        """200 while the event loop runs; 503: restart the process."""
        alive = self._view.loop_alive
        return answer({"alive": alive}, 200 if alive else 503)

    async def ready(self, request: web.Request) -> web.StreamResponse:
        """200 when clients may come: ?max_blocks_behind=2 &min_peers=0; else 503 with the reasons."""
        behind = asked.integer(request, "max_blocks_behind", 2, high=COUNT_MAX)
        reasons = unready_reasons(self._view, behind, asked.integer(request, "min_peers", 0, high=COUNT_MAX))
        if reasons:
            headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            return answer({"ready": False, "reasons": reasons}, 503, headers)
        return answer({"ready": True, "reasons": []})

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """Numbers for Prometheus."""
        return web.Response(body=self._view.render_metrics(), headers={"Content-Type": CONTENT_TYPE})
