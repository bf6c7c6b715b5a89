"""What docs/http-load.md says about outcomes and limits is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loadlab.record.request import OUTCOME_OF, Cause
from loadlab.scenario.prompts import MAX_IMAGE_PIXELS
from loadlab.wire.bodies import MAX_DOCUMENT_BYTES, MAX_STREAM_BYTES
from loadlab.wire.outcomes import MAX_ERROR_BYTES, MAX_WORDS_CHARS
from loadlab.wire.sse import MAX_EVENT_BYTES

TEXT = (Path(__file__).parents[2] / "docs" / "http-load.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.split("|")[2:4]] for line in TEXT.splitlines() if re.match(r"\|.+\| `\w+` \|", line)]


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_stands_in_the_table_beside_its_outcome(cause: Cause) -> None:
    assert any(outcome == f"`{OUTCOME_OF[cause]}`" and f"`{cause}`" in causes for outcome, causes in ROWS)


def test_the_page_states_the_limits_of_the_code() -> None:
    for limit in (
        f"above {MAX_EVENT_BYTES // 2**20} MiB",
        f"above {MAX_STREAM_BYTES // 2**20} MiB",
        f"above {MAX_DOCUMENT_BYTES // 2**20} MiB",
    ):
        assert limit in TEXT
    assert f"first {MAX_ERROR_BYTES // 2**10} KiB" in TEXT
    assert f"{MAX_WORDS_CHARS} characters" in TEXT
    assert f"up to {MAX_IMAGE_PIXELS // 2**20} Mpx" in TEXT
