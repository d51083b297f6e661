"""Signatures whose answer is known: what judges signatures is asked them before a node relies on it (decision 0027).

A library that judges otherwise, one installed in another version, would part this node from all others at the first
such signature. ``check_rule`` asks this process, at every start; ``check_worker`` a verifier process, in ``doctor``.

The signatures are of https://github.com/novifinancial/ed25519-speccheck (336651b); the answers are the rule's, and
tests/reference/ed25519.py gives the same.
"""

import subprocess
import sys
from typing import Final, NamedTuple

from ledger.ed25519 import is_valid
from ledger.errors import OperatorError

from . import verify_worker

ANSWER_S: Final = 20.0
"""A verifier process has answered within it, or does not work: it takes a tenth of a second."""


class Known(NamedTuple):
    """One signature over 32 bytes."""

    what: str
    valid: bool
    digest: bytes
    key: bytes
    signature: bytes


def _known(what: str, valid: bool, digest: str, key: str, *signature: str) -> Known:
    return Known(what, valid, bytes.fromhex(digest), bytes.fromhex(key), bytes.fromhex("".join(signature)))


_MIXED: Final = "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d"
_SMALL: Final = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"
KNOWN: Final = (
    _known(
        "parts of small order that cancel out",
        True,
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        _MIXED,
        "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f",
        "87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009",
    ),
    _known(
        "parts of small order that only the cofactor takes away",
        True,
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        _MIXED,
        "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed512",
        "5ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09",
    ),
    _known(
        "a key of small order",
        False,
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        _SMALL,
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
    ),
    _known(
        "a nonce of small order",
        False,
        "aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        _SMALL,
        "8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e",
    ),
    _known(
        "an S above the order of the group",
        False,
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        "e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e",
        "547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514",
    ),
)
"""Each tells the rule from another one that is in use."""


def check_rule() -> None:
    """Ask this process. Raises ``OperatorError`` SIGNATURE_RULE if one of the answers is not the known one."""
    _compare([is_valid(known.key, known.digest, known.signature) for known in KNOWN], "the library installed")


def check_worker(python: str = sys.executable, answer_s: float = ANSWER_S) -> None:
    """Start a verifier process as the node does, ask it, and let it end.

    Raises ``OperatorError``: VERIFIER_FAILED if it does not answer within ``answer_s`` seconds, SIGNATURE_RULE if it
    answers something else.
    """
    batch = verify_worker.batch_of(b"".join(known.signature + known.digest + known.key for known in KNOWN))
    try:
        done = subprocess.run(verify_worker.command(python), input=batch, capture_output=True, timeout=answer_s)
    except subprocess.TimeoutExpired:
        raise _not_answering(f"no answer within {answer_s:.0f} s") from None
    except OSError as error:
        raise _not_answering(str(error)) from error
    if done.returncode or len(done.stdout) != verify_worker.RESULT_BYTES:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise _not_answering(f"exit status {done.returncode}" + "".join(f", {line}" for line in said[-1:]))
    bits = int.from_bytes(done.stdout, "little")
    _compare([bool(bits >> number & 1) for number in range(len(KNOWN))], "a verifier process")


def _compare(answers: list[bool], who: str) -> None:
    for known, answer in zip(KNOWN, answers, strict=True):
        if answer is not known.valid:
            raise OperatorError(
                "SIGNATURE_RULE",
                f"{who} judges signatures by another rule than the network",
                f"{known.what}: it is {'valid' if known.valid else 'not valid'}, and it says the contrary",
                "install the versions of constraints.txt, py-ed25519-zebra-bindings first of all",
            )


def _not_answering(why: str) -> OperatorError:
    return OperatorError(
        "VERIFIER_FAILED",
        "a verifier process does not answer",
        why,
        "install huzhu and the libraries of constraints.txt anew",
    )
