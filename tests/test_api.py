"""The Python interface: its docstrings and its page are run, it imports nothing before it is used, and it agrees with the command line."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
from pathlib import Path

import pytest

import loadlab
from loadlab import api, capacity, load_run, run, simulate
from loadlab.errors import InputError
from tests.cli.command import Command, command
from tests.docs.notebook import notebook_of
from tests.engines.null_target import null_target

__all__ = ["command"]
ROOT = Path(__file__).parents[1]


@pytest.fixture
def at_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the shipped scenarios, as in a clone."""
    (tmp_path / "scenarios").symlink_to(ROOT / "scenarios")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_examples_of_the_docstrings_are_true(at_root: Path) -> None:
    found = doctest.testmod(api)
    assert (found.failed, found.attempted >= 7) == (0, True)


def test_examples_of_the_page_run_in_order(at_root: Path) -> None:
    """As the notebook runs them, which has the same cells: `make notebook` makes it again when the page has changed."""
    kept = json.loads((ROOT / "docs" / "python-api.ipynb").read_bytes())
    made = notebook_of((ROOT / "docs" / "python-api.md").read_text())
    assert len([cell for cell in made["cells"] if cell["cell_type"] == "code"]) >= 5
    assert [cell["source"] for cell in made["cells"]] == [cell["source"] for cell in kept["cells"]]
    said = "".join(out["text"] for cell in made["cells"] for out in cell.get("outputs", ()) if out["output_type"] == "stream")
    assert said == "".join(out["text"] for cell in kept["cells"] for out in cell.get("outputs", ()) if out["output_type"] == "stream")
    assert [out for cell in made["cells"] for out in cell.get("outputs", ()) if "image/png" in out.get("data", ())]


def test_import_loads_nothing_heavy_and_unknown_names_are_no_attributes() -> None:
    code = "import sys, loadlab; print([m for m in ('numpy', 'pandas', 'typer', 'loadlab.api') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    with pytest.raises(AttributeError, match="has no attribute 'simulat'"):
        loadlab.simulat  # type: ignore[attr-defined]  # noqa: B018
    assert {"run", "simulate", "capacity", "break_even"} <= set(dir(loadlab))


def test_it_gives_what_the_command_line_gives(tmp_path: Path, command: Command) -> None:
    scenario, cluster = ROOT / "scenarios/smoke.toml", ROOT / "scenarios/clusters/t4-14b.toml"
    ours = simulate(scenario, cluster, seed=3, thresholds=["ttft.p95 < 10s"], out=tmp_path / "ours")
    flags = ("--target", f"sim:{cluster}", "--seed", "3", "--threshold", "ttft.p95 < 10s", "--no-band", "--no-report", "-q")
    command("run", scenario, *flags, "--out", tmp_path / "theirs")
    theirs = json.loads((tmp_path / "theirs" / "summary.json").read_bytes())
    for key in ("totals", "metrics", "thresholds", "plan_digest", "scenario_digest", "conditions"):
        assert json.loads(json.dumps(ours.summary[key])) == theirs[key]
    assert ours.metric("ttft.p95").value == theirs["metrics"]["ttft_s"]["p95"]["value"]
    assert load_run(tmp_path / "theirs").summary["metrics"] == ours.summary["metrics"]


def test_a_frame_of_requests_holds_the_latencies_of_the_table() -> None:
    one = simulate("smoke", "t4-14b", requests=100)
    frame = one.requests()
    assert len(frame) == 100
    assert frame["ttft_s"].max() == pytest.approx(one.summary["metrics"]["ttft_s"]["max"]["value"])
    assert one.has_passed is None, "nothing was asked"


def test_a_temporary_run_goes_with_its_last_reference() -> None:
    one = simulate("smoke", "t4-14b", requests=20)
    path = one.path
    assert path.exists()
    del one
    assert not path.exists()


def test_a_real_target_is_loaded_and_another_machine_is_not(tmp_path: Path) -> None:
    with null_target(ttft_s=0.01, gap_s=0.001) as target:
        one = run("smoke", target.url, model="m", requests=20, rate_per_s=20, out=tmp_path / "run")
    assert one.summary["totals"]["ok"] == 20
    assert one.summary["engine"] == "locust"
    with pytest.raises(InputError, match="may_leave_this_machine"):
        run("smoke", "http://192.0.2.1:9", model="m")
    with pytest.raises(InputError, match="model"):
        run("smoke", "http://127.0.0.1:9")


def test_bad_input_is_told_in_the_words_of_the_command_line() -> None:
    with pytest.raises(InputError, match="no SLO"):
        capacity("smoke", "t4-14b")
    with pytest.raises(InputError, match="t4-14b"):
        simulate("smoke", "t4-14")
