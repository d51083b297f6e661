"""Replacing functions of the product, and putting them back."""

import sys
from collections.abc import Callable
from typing import Any

from consensus.effects import SignRequest
from consensus.safety import SafetyRules


class Patch:
    """Remembers what it replaced."""

    def __init__(self) -> None:
        self._undo: list[tuple[Any, str, Any]] = []

    def replace(self, owner: Any, name: str, new: Any) -> None:
        """``owner.name`` becomes ``new``."""
        self._undo.append((owner, name, owner.__dict__[name]))
        setattr(owner, name, new)

    def everywhere(self, old: Callable[..., Any], new: Callable[..., Any]) -> None:
        """``new`` instead of ``old`` in every module of consensus that imported it."""
        for module in [module for name, module in sys.modules.items() if name.startswith("consensus.")]:
            for name, value in list(vars(module).items()):
                if value is old:
                    self.replace(module, name, new)

    def undo(self) -> None:
        """Put everything back, the last first."""
        while self._undo:
            owner, name, old = self._undo.pop()
            setattr(owner, name, old)


def without_scruples(patch: Patch) -> None:
    """SafetyRules signs whatever it is asked for, so that not it, but the invariants, notice the bug."""

    def sign(self: SafetyRules, request: SignRequest) -> bytes:
        digest = request.message.signing_digest(self._chain_id, request.epoch)
        return self._scheme.sign(self._seeds[request.key], digest)

    patch.replace(SafetyRules, "sign", sign)
