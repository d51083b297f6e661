"""The code of `docs/embed.md` runs as it stands on the page."""

import contextlib
import io
import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "embed.md"
LINES_MAX = 44
LINE_MAX = 120


def block() -> str:
    (found,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    return str(found)


def test_the_page_s_code_enrols_and_proves() -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(block(), str(PAGE), "exec"), {"__name__": "embedded"})
    assert out.getvalue().startswith("True (Receipt(")
    assert "code='OK', detail=(0, 2, 0)" in out.getvalue()


def test_the_page_s_code_is_short() -> None:
    lines = [line for line in block().splitlines() if line.strip()]
    assert len(lines) <= LINES_MAX
    assert max(map(len, lines)) <= LINE_MAX
