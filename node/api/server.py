"""The API put together: the table of routes, what surrounds every request, and the listening socket.

Rules of this file

* A route stands in ``routes`` once; the index at ``/`` is made from that table.
* Around every request: the client's rate, the body's limit, problems for refusals, a count and a duration.
* Whatever else a handler raises is our bug, or a damaged disk: it is handed to the node, which stops (DESIGN §5). A
  client that has gone away is neither.
* Reading is open; nothing here changes the chain but a validly signed transaction. It listens on loopback by default.
"""

from __future__ import annotations

import errno
import logging
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from ledger.errors import InvariantViolation, OperatorError, TransactionRejected
from p2p.rate import TokenBucket

from ..config import ApiSection, split_address
from ..metrics import Metrics
from ..steps import Steps
from .answers import answer, problem
from .blocks import Blocks
from .claim_views import ClaimViews
from .claimants import Claimants
from .connections import Connections
from .consortium_views import ConsortiumViews
from .feed import Feeds
from .ledger_views import LedgerViews
from .light import LightClients
from .openapi import document
from .operating import Operating
from .submitting import Submitting
from .view import NodeView
from .waiters import CommitWaiters

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
CLIENTS_MAX: Final = 4_096
"""Client addresses whose rate is remembered; beyond it the longest silent is forgotten."""
SHUTDOWN_SECONDS: Final = 2.0
CLIENT_GONE: Final = 499
"""What the metrics count for a client that went away before it was answered."""
_FREE_OF_RATE: Final = frozenset({"/livez", "/readyz", "/metrics"})


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table."""

    method: str
    path: str
    handler: Handler

    @property
    def doc(self) -> str:
        """The handler's sentence."""
        return (self.handler.__doc__ or "").strip()


def routes(view: NodeView, waiters: CommitWaiters, feeds: Feeds, steps: Steps | None = None) -> list[Route]:
    """Every route of the API."""
    blocks, ledger = Blocks(view), LedgerViews(view)
    claims, consortium = ClaimViews(view), ConsortiumViews(view)
    light = LightClients(view)
    submitting, operating = Submitting(view, waiters, steps), Operating(view)

    async def openapi(request: web.Request) -> web.StreamResponse:
        """This API as an OpenAPI 3.1 document."""
        return answer(document([(route.method, route.path, route.doc) for route in table]))

    table = [
        Route("GET", "/v1/openapi.json", openapi),
        Route("GET", "/v1/status", operating.status),
        Route("GET", "/v1/peers", operating.peers),
        Route("GET", "/v1/genesis", operating.genesis),
        Route("GET", "/v1/blocks", blocks.listing),
        Route("GET", "/v1/blocks/export", blocks.export),
        Route("GET", "/v1/blocks/{ref}", blocks.show),
        Route("POST", "/v1/transactions", submitting.submit),
        Route("GET", "/v1/transactions/{id}", submitting.show),
        Route("GET", "/v1/members", ledger.member_by_identity),
        Route("GET", "/v1/members/{id}", ledger.member),
        Route("GET", "/v1/members/{id}/bill", ledger.bill),
        Route("GET", "/v1/claims", claims.claims),
        Route("GET", "/v1/claims/{id}", claims.claim),
        Route("POST", "/v1/claims/{id}/proof", Claimants(view).proof),
        Route("GET", "/v1/evidence", claims.evidence),
        Route("GET", "/v1/access", claims.access),
        Route("GET", "/v1/events", claims.events),
        Route("GET", "/v1/disputes", claims.disputes),
        Route("GET", "/v1/disputes/{id}", claims.dispute),
        Route("GET", "/v1/jurors", claims.jurors),
        Route("GET", "/v1/proposals", consortium.proposals),
        Route("GET", "/v1/proposals/{id}", consortium.proposal),
        Route("GET", "/v1/attestations", consortium.attestations),
        Route("GET", "/v1/payments", consortium.payments),
        Route("GET", "/v1/plans", ledger.plans),
        Route("GET", "/v1/plans/{id}", ledger.plan),
        Route("GET", "/v1/settlements", ledger.settlements),
        Route("GET", "/v1/settlements/{plan}/{period}", ledger.settlement),
        Route("GET", "/v1/collections", ledger.collections),
        Route("GET", "/v1/organisations", ledger.organisations),
        Route("GET", "/v1/validators", ledger.validators),
        Route("GET", "/v1/deadlines/next", ledger.next_deadline),
        Route("GET", "/v1/proofs/{table}/{id}", ledger.proof),
        Route("GET", "/v1/headers", light.headers),
        Route("GET", "/v1/members/{id}/statement", light.statement),
        Route("GET", "/v1/settlements/{plan}/{period}/proof", light.settlement),
        Route("GET", "/v1/draws/{id}/proof", light.draw),
        Route("GET", "/v1/disputes/{id}/proof", light.jury),
        Route("GET", "/v1/transactions/{id}/proof", light.transaction),
        Route("GET", "/v1/feed", feeds.feed),
        Route("GET", "/livez", operating.live),
        Route("GET", "/readyz", operating.ready),
        Route("GET", "/metrics", operating.metrics),
    ]
    return table


class ClientRates:
    """A token bucket for each client address."""

    def __init__(self, requests_per_second: int, now_s: Callable[[], float]) -> None:
        self._rate = requests_per_second
        self._now_s = now_s
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def allow(self, client: str) -> bool:
        """Whether this client may make one more request now."""
        if self._rate == 0:
            return True
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = TokenBucket(self._rate, self._rate, self._now_s())
            if len(self._buckets) > CLIENTS_MAX:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(client)
        return bucket.take(1, self._now_s())


def make_app(
    view: NodeView,
    section: ApiSection,
    metrics: Metrics,
    waiters: CommitWaiters,
    on_bug: Callable[[Exception], None],
    *,
    now_s: Callable[[], float],
    steps: Steps | None = None,
) -> web.Application:
    """The aiohttp application. ``on_bug`` gets what no handler may raise; the node must stop."""
    rates = ClientRates(section.requests_per_second, now_s)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        route = "unknown" if resource is None else resource.canonical
        start_s = now_s()
        response = await answered(request, handler)
        metrics.requests.labels(route, str(response.status)).inc()
        metrics.request_seconds.labels(route).observe(now_s() - start_s)
        metrics.waiters.set(len(waiters))
        return response

    async def answered(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in _FREE_OF_RATE and not rates.allow(request.remote or ""):
            return problem("RATE_LIMITED", f"{section.requests_per_second} requests a second")
        try:
            return await handler(request)
        except TransactionRejected as rejected:
            return problem(rejected.code, rejected.detail)
        except web.HTTPRequestEntityTooLarge:
            return problem("TOO_LARGE", f"a request body has at most {section.body_bytes_max} bytes")
        except web.HTTPMethodNotAllowed as error:
            response = problem(
                "METHOD_NOT_ALLOWED", f"{error.method}; allowed: {', '.join(sorted(error.allowed_methods))}"
            )
            response.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
            return response
        except web.HTTPNotFound:
            return problem("NOT_FOUND", f"no route {request.path[:80]}; GET / lists them")
        except web.HTTPException as error:
            return problem("BAD_REQUEST", error.reason)
        except web.RequestPayloadError:
            return problem("BAD_REQUEST", "the body is not what its Content-Encoding or Transfer-Encoding says")
        except ConnectionError:  # the client went away in the middle of an answer
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=CLIENT_GONE)
        except OSError:
            raise
        except Exception as bug:
            on_bug(bug)
            raise

    feeds = Feeds(view, waiters)
    table = routes(view, waiters, feeds, steps)

    async def index(request: web.Request) -> web.StreamResponse:
        """This list."""
        listed = [{"method": route.method, "path": route.path, "about": route.doc} for route in table]
        return answer({"node": view.status().name, "chain_id": view.chain_id.hex(), "routes": listed})

    app = web.Application(middlewares=[guard], client_max_size=section.body_bytes_max)
    app.on_shutdown.append(feeds.close)
    app.router.add_get("/", index, allow_head=False)
    for route in table:
        app.router.add_route(route.method, route.path, route.handler)
    return app


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server's context for the PEM files. Raises ``OperatorError`` API_TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise OperatorError(
            "API_TLS",
            f"TLS cannot be served with {certificate} and {key}",
            str(error),
            "check api.tls_certificate (with its chain) and api.tls_key, both PEM",
        ) from error
    return context


class ApiServer:
    """The listening socket. ``start`` binds, ``stop`` lets open requests finish; both are the node's to call."""

    def __init__(
        self,
        app: web.Application,
        listen: str,
        *,
        connections: Connections,
        logger: logging.Logger,
    ) -> None:
        """``logger`` gets what aiohttp says of connections (``http_log``)."""
        self._listen = listen
        self._connections = connections

        @web.middleware
        async def serve(request: web.Request, handler: Handler) -> web.StreamResponse:
            with connections.serving(request):
                return await handler(request)

        app.middlewares.insert(0, serve)
        self._runner = web.AppRunner(app, access_log=None, logger=logger, shutdown_timeout=SHUTDOWN_SECONDS)

    async def start(self) -> tuple[str, int]:
        """Bind and serve; returns the address really bound.

        Raises ``OperatorError`` API_PORT_IN_USE or API_CANNOT_LISTEN.
        """
        host, port = split_address(self._listen)
        await self._runner.setup()
        server = self._runner.server
        if server is None:
            raise InvariantViolation("a runner that is set up has a server")
        try:
            return await self._connections.listen(host, port, server)
        except OSError as error:
            await self._runner.cleanup()
            raise OperatorError(
                "API_PORT_IN_USE" if error.errno == errno.EADDRINUSE else "API_CANNOT_LISTEN",
                f"the API cannot listen on {self._listen}",
                str(error),
                "choose another api.listen",
                exit_code=1,
            ) from error

    async def stop(self) -> None:
        """Stop listening and end what is open."""
        await self._connections.close()
        await self._runner.cleanup()
