"""What is written at the end of an event: once, in order, and outside of one in the loop's next turn."""

import asyncio

import pytest

from p2p.turn import Turn


def test_what_an_event_leaves_to_write_is_written_at_its_end_in_order() -> None:
    turn, written = Turn(), []
    with turn:
        turn.at_the_end(lambda: written.append("first"))
        with turn:
            turn.at_the_end(lambda: written.append("second"))
        assert written == [], "the outer event is not over"
    assert written == ["first", "second"]
    with turn:
        pass
    assert written == ["first", "second"], "and once"


def test_before_something_long_it_is_written_at_once() -> None:
    turn, written = Turn(), []
    with turn:
        turn.at_the_end(lambda: written.append("before"))
        turn.end()
        assert written == ["before"]
    assert written == ["before"]


def test_it_is_written_although_the_event_failed() -> None:
    turn, written = Turn(), []
    with pytest.raises(ValueError, match="broken"), turn:
        turn.at_the_end(lambda: written.append("all the same"))
        raise ValueError("broken")
    assert written == ["all the same"]


@pytest.mark.asyncio
async def test_outside_of_an_event_it_is_written_in_the_next_turn_of_the_loop() -> None:
    turn, written = Turn(), []
    turn.at_the_end(lambda: written.append("later"))
    assert written == []
    await asyncio.sleep(0)
    assert written == ["later"]
