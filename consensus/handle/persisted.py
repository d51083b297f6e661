"""Input: records are durable."""

from .. import admission
from ..events import Persisted
from ..own import after_persisted
from ..state import Core


def handle(core: Core, event: Persisted) -> None:
    """Ask for the signatures, or begin to sign at all."""
    if event.token == core.adopting:
        admission.adopted(core)
    elif core.open.decided is None:
        after_persisted(core, event.token)
