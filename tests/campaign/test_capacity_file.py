"""A capacity study read back by what counts with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from loadlab.campaign.capacity_file import read_study
from loadlab.campaign.fleet import load_unit
from loadlab.campaign.money import measured_capacity
from loadlab.errors import InputError

READERS: list[Callable[[Path], object]] = [read_study, measured_capacity, lambda file: load_unit(str(file), None, None, [])]


@pytest.mark.parametrize("read", READERS)
def test_a_later_version_is_refused_with_both_versions(read: Callable[[Path], object], tmp_path: Path) -> None:
    file = tmp_path / "capacity.json"
    file.write_bytes(orjson.dumps({"schema": "loadlab/capacity/2", "sentence": "holds"}))
    with pytest.raises(InputError) as refused:
        read(file)
    assert all(part in str(refused.value) for part in ("capacity.json", "loadlab/capacity/2", "loadlab/capacity/1"))


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(("content", "says"), [(b"{", "is not JSON"), (b"[]", "capacity study"), (b'{"a": 1}', "capacity study")])
def test_what_is_no_study_is_refused(read: Callable[[Path], object], content: bytes, says: str, tmp_path: Path) -> None:
    file = tmp_path / "capacity.json"
    file.write_bytes(content)
    with pytest.raises(InputError, match=says):
        read(file)
