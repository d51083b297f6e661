"""Inputs: LastSeen questions and answers (CONSENSUS §3)."""

from .. import admission
from ..messages import CommitCertificate, LastSeenAnswer, LastSeenQuestion
from ..repair import answer
from ..state import Core
from .answers import on_certificate


def on_question(core: Core, peer: bytes, index: int | None, question: LastSeenQuestion) -> None:
    """Answer at once, before we may sign ourselves: so this cannot deadlock."""
    answer(core, peer, admission.answer_to(core, question))


def on_answer(core: Core, peer: bytes, index: int | None, message: LastSeenAnswer) -> None:
    """Only the link of a registered node key speaks for a seat."""
    if index is not None and 0 <= index < len(core.open.context.validators):
        admission.take_answer(core, index, peer, message)
        on_certificate(core, peer, index, CommitCertificate(message.head_certificate))
