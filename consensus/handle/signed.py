"""Input: a signature of ours."""

from ..events import Signed
from ..own import after_signed
from ..state import Core


def handle(core: Core, event: Signed) -> None:
    """Count our message and send it."""
    after_signed(core, event.token, event.signature)
