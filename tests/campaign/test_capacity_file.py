"""A capacity study, and the runs of its search, read back by what counts with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from loadlab.campaign.capacity import levels_of_runs
from loadlab.campaign.capacity_file import read_study
from loadlab.campaign.fleet import load_unit
from loadlab.campaign.money import measured_capacity
from loadlab.campaign.probing import Probing, run_probe
from loadlab.campaign.trial import host_facts
from loadlab.errors import InputError
from loadlab.planning.search import Ask, Finding
from loadlab.scenario.files import load_scenario
from loadlab.scenario.library import find_cluster, find_scenario
from loadlab.slo import Slo, Slos

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


def test_a_run_that_its_search_ended_counts_only_what_had_come_due(tmp_path: Path) -> None:
    slos = Slos(default=Slo(ttft=20.0), by_class={})
    probing = Probing(
        scenario=load_scenario(find_scenario(Path("smoke"))), target=find_cluster(Path("t4-14b")), slos=slos, seed=1,
        host=host_facts([]), keep_rows_in=tmp_path,
    )  # fmt: skip
    told = run_probe(probing, Ask(rate_per_s=0.5, looks=(100, 4000), judge=lambda _: Finding.HOLDS), 0, lambda *_: None)
    (again,) = levels_of_runs([path for path in tmp_path.iterdir() if path.is_dir()], slos)
    assert told.n + told.warm_up == 100
    assert 100 <= again.n + again.warm_up < 3000
    assert again.bad == told.bad == 0
