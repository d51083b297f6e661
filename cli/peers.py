"""``huzhu peers``: whom a node has links with, and why it has none with somebody (NODE §1)."""

from typing import Any, Final

import click

from ledger.errors import OperatorError
from p2p.reasons import REASONS

from .client import NodeClient, ask, node_option
from .output import console, listing, moment, output_option, table

UNKNOWN: Final = "nothing was tried yet"
ADVICE: Final[dict[str, str]] = {
    # reason code: what an operator does about it
    "NOT_HUZHU": "check the address: something else answers there",
    "WRONG_CHAIN": "compare `huzhu genesis check` on both sides: the chain ids differ",
    "PROTOCOL_MISMATCH": "bring both sides to versions that share a protocol version (`huzhu --version`)",
    "HANDSHAKE_FAILED": "look for a proxy or a middlebox that alters the stream",
    "HANDSHAKE_TIMEOUT": "check the network's delay and whether the other machine is overloaded",
    "WRONG_PEER": "the address belongs to another node now: correct p2p.peers, or the organisation's address",
    "UNKNOWN_PEER": "the other side must admit this node key: its organisation on the chain, or p2p.peers",
    "TOO_MANY_APPLICANTS": "the other side has no place for applicants now; it is tried again by itself",
    "SELF": "remove this node's own address from p2p.peers",
    "BANNED": "wait for the end of the ban, and read the other side's log for the breach",
    "UNREACHABLE": "check that the other node runs, its address, and the firewalls between",
    "SHUTDOWN": "the other node was stopped; it is dialled again by itself",
    "NO_LONGER_ALLOWED": "the organisation was suspended or removed, or its node key was rotated",
    "IDLE": "check the network between the two; it is dialled again by itself",
    "STALLED": "the other machine does not keep up: look at its load",
    "CONNECTION_LOST": "it is dialled again by itself; if this repeats, check the network",
}


STRANGER_ADVICE: Final[dict[str, str]] = {
    # of somebody who dials this node: what this side's operator can do
    "UNKNOWN_PEER": "if its organisation applies: `huzhu org propose` its card; its node is told how far that is",
    "WRONG_CHAIN": "it belongs to another chain: give it a bundle of this one (`huzhu join bundle`)",
    "PROTOCOL_MISMATCH": "one of the two programs is too old: compare `huzhu --version` on both sides",
}


@click.group()
def peers() -> None:
    """Links to other nodes."""


@peers.command("list")
@node_option
@output_option
def list_(node: str) -> None:
    """Every known node: link, address, delay, clock, and why the last link ended."""
    found = ask(node, _peers)
    rows = [
        (
            peer["name"] or "-",
            peer["key"][:16],
            _state(peer),
            _address(peer),
            "-" if peer["rtt_ms"] is None else f"{peer['rtt_ms']:.1f} ms",
            "-" if peer["clock_offset_ms"] is None else f"{peer['clock_offset_ms']:+.0f} ms",
            _last(peer),
        )
        for peer in found
    ]
    refused = ask(node, _strangers)
    rows += [
        ("-", (item["key"] or "not proved")[:16], "refused", item["host"], "-", "-", str(item["error"]["code"]))
        for item in refused
    ]
    headings = ("organisation", "node key", "link", "address", "delay", "clock", "last error")
    console().result({"peers": found, "strangers": refused}, table(headings, rows))


@peers.command()
@click.argument("key")
@node_option
@output_option
def why(key: str, node: str) -> None:
    """Why the peer KEY is connected or not. KEY: the beginning of its node key, or its organisation's name.

    Of somebody who dials this node and is refused: the beginning of the key, or the host it dials from.
    """
    peers, strangers = ask(node, _peers), ask(node, _strangers)
    found = [peer for peer in peers if peer["key"].startswith(key.lower()) or peer["name"] == key]
    refused = [item for item in strangers if (item["key"] or "").startswith(key.lower()) or item["host"] == key]
    if not found and refused:
        _tell_stranger(refused[-1])
        return
    if len(found) != 1:
        raise OperatorError(
            "NO_SUCH_PEER" if not found else "AMBIGUOUS_PEER",
            f"{len(found)} peers of {node} match {key!r}",
            "a node knows the organisations on the chain and its static peers",
            "see `huzhu peers list`",
            exit_code=1,
        )
    peer = found[0]
    error = peer["last_error"]
    code = None if error is None else str(error["code"])
    because = UNKNOWN if error is None else f"{code} (said by: {error['by']}): {_meaning(error)}"
    if error is None and peer["connected"]:
        because = "none"
    elif error is None and peer["address"] is None:
        because = "no address is known"
    following = what_next(peer, code)
    lines: dict[str, object] = {
        "peer": peer["name"] or "-",
        "node key": peer["key"],
        "link": _state(peer),
        "address": _address(peer),
        "last error": because,
        "at": _moment(peer["last_error_ms"]),
        "failed dials": peer["dials_failed"],
        "banned for": f"{peer['banned_for_s']:.0f} s",
        "next": following,
    }
    console().result({**peer, "because": because, "next": following}, listing(lines))


def what_next(peer: dict[str, Any], code: str | None) -> str:
    """What an operator does about a peer (``/v1/peers``) whose last link ended with the reason ``code``."""
    if peer["connected"] and not peer["status_only"]:
        return "nothing to do"
    if peer["connected"]:
        if code == "UNKNOWN_PEER":
            return "it has not admitted this node, and tells it how far its application is: `huzhu join status`"
        return "its organisation is not admitted yet; it asks how far its application is: `huzhu gov list`"
    if peer["address"] is None:
        return "put it into p2p.peers, or let its organisation register an address"
    return ADVICE.get(code or "", "it is dialled again by itself; read both logs if this goes on")


def _tell_stranger(stranger: dict[str, Any]) -> None:
    """The newest refusal of somebody whom this node does not dial."""
    error = stranger["error"]
    code = str(error["code"])
    because = f"{code} (said by: {error['by']}): {_meaning(error)}"
    following = STRANGER_ADVICE.get(code, "nothing here: the other side reads the same reason")
    lines: dict[str, object] = {
        "peer": "-",
        "node key": stranger["key"] or "not proved",
        "link": "refused when it dialled",
        "from": stranger["host"],
        "last error": because,
        "at": _moment(stranger["error_ms"]),
        "times": stranger["times"],
        "next": following,
    }
    console().result({**stranger, "because": because, "next": following}, listing(lines))


async def _strangers(client: NodeClient) -> list[dict[str, Any]]:
    """Who dialled lately and was refused, the newest last."""
    found: list[dict[str, Any]] = (await client.get("/v1/peers"))["strangers"]
    return found


async def _peers(client: NodeClient) -> list[dict[str, Any]]:
    """The peers with their organisations' names."""
    names: dict[str, str] = {}
    after: dict[str, int] = {}
    while True:
        page = await client.get("/v1/organisations", **after)
        for org in page["organisations"]:
            names |= dict.fromkeys(org["node_keys"], str(org["name"]))
        if page.get("next") is None:
            break
        after = {"after": int(page["next"])}
    answer = await client.get("/v1/peers")
    return [{"name": names.get(peer["key"]), **peer} for peer in answer["peers"]]


def _state(peer: dict[str, Any]) -> str:
    if not peer["connected"]:
        return "banned" if peer["banned_for_s"] > 0 else "none"
    return "status only" if peer["status_only"] else f"up, {peer['direction'] or 'changing'}"


def _address(peer: dict[str, Any]) -> str:
    return "-" if peer["address"] is None else "{}:{}".format(*peer["address"])


def _last(peer: dict[str, Any]) -> str:
    return "-" if peer["last_error"] is None else str(peer["last_error"]["code"])


def _meaning(error: dict[str, Any]) -> str:
    meaning = REASONS.get(str(error["code"]))
    parts = [meaning.text if meaning is not None else "", str(error["detail"])]
    return "; ".join(part for part in parts if part)


def _moment(ms: int | None) -> str:
    return "-" if ms is None else moment(ms)
