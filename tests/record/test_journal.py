"""A journal goes on where it was cut, and refuses what is another question, or no journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loadlab.errors import InputError
from loadlab.record.journal import Journal


def journal(path: Path | None, header: dict[str, Any] | None = None, *, resume: bool = False) -> Journal[int]:
    return Journal(path, header or {"q": 1}, lambda row: int(row["n"]), resume=resume, study="study", row="probe", question="seed")


def test_what_was_added_is_found_again_but_for_a_line_that_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "j.jsonl"
    journal(path).add({"n": n} for n in range(3))
    for cut in range(1, 8):
        whole = path.read_bytes()
        path.write_bytes(whole[:-cut])
        again = journal(path, resume=True)
        assert again.found == [0, 1]
        again.add([{"n": 2}])
        assert path.read_bytes() == whole


def test_another_question_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    journal(path).add([{"n": 1}])
    before = path.read_bytes()
    for header, resume, why in (({"q": 2}, True, "line 1: was begun with another seed"), ({"q": 1}, False, "exists: pass --resume")):
        with pytest.raises(InputError, match=why):
            journal(path, header, resume=resume)
    with pytest.raises(InputError, match="nothing to resume"):
        journal(tmp_path / "none.jsonl", resume=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("line", ["nonsense", '{"m":1}', '{"n":"x"}', "[]"])
def test_a_line_that_is_no_answer_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "j.jsonl"
    journal(path).add([{"n": 1}])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InputError, match=r"j.jsonl: line 3: is no probe"):
        journal(path, resume=True)


def test_without_a_path_it_forgets() -> None:
    forgetful = journal(None)
    forgetful.add([{"n": 1}])
    assert forgetful.found == []
