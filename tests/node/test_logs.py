"""Logs: text for people, JSON for machines, and nothing global."""

import io
import json
from pathlib import Path

import pytest

from ledger.errors import OperatorError
from node.config import LogSection
from node.logs import NodeLog, summary


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_readable_text_with_short_hashes() -> None:
    stream = Terminal()
    NodeLog(LogSection(), None, stream=stream, name="bank").log.info("block committed", height=7, hash=b"\xab" * 32)
    line = stream.getvalue()
    assert "block committed" in line
    assert "abababababab…" in line
    assert "ab" * 32 not in line


def test_a_pipe_gets_json_with_everything() -> None:
    stream = io.StringIO()
    NodeLog(LogSection(), None, stream=stream, name="bank").log.warning("disk low", free_bytes=3, key=b"\x01" * 32)
    event = json.loads(stream.getvalue())
    assert event.pop("timestamp").endswith("Z")
    assert event == {"node": "bank", "event": "disk low", "level": "warning", "free_bytes": 3, "key": "01" * 32}


def test_the_file_gets_json_whatever_the_terminal_shows(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    log = NodeLog(LogSection(format="text"), path, stream=io.StringIO())
    log.log.info("one")
    log.log.error("two", why="because")
    log.close()
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [event["event"] for event in events] == ["one", "two"]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["d", "i", "w", "e"]),
        ("info", ["i", "w", "e"]),
        ("warning", ["w", "e"]),
        ("error", ["e"]),
    ],
)
def test_the_level_filters(level: str, expected: list[str]) -> None:
    stream = io.StringIO()
    log = NodeLog(LogSection(level=level), None, stream=stream).log
    log.debug("d")
    log.info("i")
    log.warning("w")
    log.error("e")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == expected


def test_two_nodes_do_not_mix_their_lines() -> None:
    streams = [io.StringIO(), io.StringIO()]
    logs = [NodeLog(LogSection(), None, stream=stream, name=str(at)) for at, stream in enumerate(streams)]
    logs[0].log.info("zero")
    logs[1].log.info("one")
    assert [json.loads(stream.getvalue())["event"] for stream in streams] == ["zero", "one"]


def test_a_file_that_cannot_be_written_is_an_operators_error(tmp_path: Path) -> None:
    with pytest.raises(OperatorError) as caught:
        NodeLog(LogSection(), tmp_path / "absent" / "node.log", stream=io.StringIO())
    assert caught.value.code == "LOG_FILE"


def test_an_exception_is_logged_with_its_trace() -> None:
    stream = io.StringIO()
    log = NodeLog(LogSection(), None, stream=stream).log
    try:
        raise ValueError("inner")
    except ValueError as error:
        log.error("failed", exc_info=error)
    assert "ValueError: inner" in json.loads(stream.getvalue())["exception"]


def test_the_summary_is_one_line_without_what_is_not_known() -> None:
    stream = io.StringIO()
    summary(NodeLog(LogSection(), None, stream=stream).log, {"height": 3, "round": 0, "behind": None})
    event = json.loads(stream.getvalue())
    assert {key: event[key] for key in event if key not in ("timestamp", "level")} == {
        "event": "summary",
        "height": 3,
        "round": 0,
    }
