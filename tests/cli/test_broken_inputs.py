"""Every broken input gives exit 2, one clear message, no traceback, and touches nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import CLUSTERS, SCENARIOS, Command

SMOKE = (SCENARIOS / "smoke.toml").read_text()
CLUSTER = (CLUSTERS / "t4-14b.toml").read_text()
TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:17:03.9799600,480,10\r\n"


def good(folder: Path) -> list[str]:
    """A command that works, in a folder of its own; each case below breaks one thing of it."""
    (folder / "s.toml").write_text(SMOKE)
    (folder / "c.toml").write_text(CLUSTER)
    (folder / "trace.csv").write_text(TRACE)
    return ["run", str(folder / "s.toml"), "--target", f"sim:{folder / 'c.toml'}", "--out", str(folder / "out"), "--no-report", "--quiet"]


def edit(file: str, old: str, new: str) -> Callable[[Path, list[str]], list[str]]:
    def apply(folder: Path, arguments: list[str]) -> list[str]:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1))
        return arguments

    return apply


def write(file: str, content: bytes) -> Callable[[Path, list[str]], list[str]]:
    def apply(folder: Path, arguments: list[str]) -> list[str]:
        (folder / file).write_bytes(content)
        return arguments

    return apply


def flag(*more: str) -> Callable[[Path, list[str]], list[str]]:
    """Adds or, where the flag is there already, overrides; {folder} stands for the folder."""
    return lambda folder, arguments: [*arguments, *(text.format(folder=folder) for text in more)]


def without(name: str) -> Callable[[Path, list[str]], list[str]]:
    def apply(_: Path, arguments: list[str]) -> list[str]:
        at = arguments.index(name)
        return arguments[:at] + arguments[at + 2 :]

    return apply


def replay(trace: bytes, *more: str) -> Callable[[Path, list[str]], list[str]]:
    def apply(folder: Path, arguments: list[str]) -> list[str]:
        (folder / "trace.csv").write_bytes(trace)
        (folder / "s.toml").write_text((SCENARIOS / "replay.toml").read_text())
        return [*arguments, "--trace", str(folder / "trace.csv"), *more]

    return apply


def occupied(folder: Path, arguments: list[str]) -> list[str]:
    (folder / "out").mkdir()
    (folder / "out" / "precious.txt").write_text("keep me")
    return arguments


def out_is_a_file(folder: Path, arguments: list[str]) -> list[str]:
    (folder / "out").write_text("keep me")
    return arguments


CASES = {
    "no such scenario": (lambda f, a: ["run", str(f / "none.toml"), *a[2:]], "none.toml: does not exist"),
    "scenario is not TOML": (write("s.toml", b"load = ["), "is not valid TOML"),
    "scenario is not text": (write("s.toml", bytes(range(256))), "is not UTF-8 text"),
    "scenario is huge": (write("s.toml", b"#" * (5 * 2**20)), "is larger than 4 MiB"),
    "scenario is empty": (write("s.toml", b""), "schema is missing"),
    "later schema": (edit("s.toml", "loadlab/scenario/1", "loadlab/scenario/2"), "is not one that this version reads"),
    "unknown key": (edit("s.toml", "timeout_s", "time_out_s"), "did you mean 'timeout_s'"),
    "wrong type": (edit("s.toml", "requests = 50", 'requests = "many"'), "load.requests"),
    "wrong unit": (edit("s.toml", 'timeout_s = "60s"', 'timeout_s = "60 parsecs"'), "no known unit of time"),
    "negative rate": (edit("s.toml", "rate_per_s = ", "rate_per_s = -"), "must be > 0"),
    "unknown arrival law": (edit("s.toml", 'kind = "poisson"', 'kind = "poison"'), "did you mean 'poisson'"),
    "no class": (edit("s.toml", "[classes.chat]", "[klasses.chat]"), "klasses"),
    "model that the cluster lacks": (edit("s.toml", 'model = "llm-14b"', 'model = "gpt"'), "does not serve"),
    "no target": (without("--target"), "--target is missing"),
    "HTTP target without a model": (flag("--target", "http://localhost:8000/v1"), "--model is missing"),
    "HTTP target with a password in it": (flag("--target", "http://me:hidden@localhost"), "carries a user or password"),
    "HTTP flag for a simulated cluster": (flag("--model", "m"), "--model belongs to a target over HTTP"),
    "target of another kind": (flag("--target", "ftp://example"), "must be sim:CLUSTER.toml"),
    "no such cluster": (flag("--target", "sim:{folder}/none.toml"), "none.toml: does not exist"),
    "model that does not fit": (edit("c.toml", "tensor_parallel = 2", "overhead_bytes = '9GiB'\ntensor_parallel = 1"), "GiB short"),
    "unknown GPU": (edit("c.toml", '"T4"', '"T5"'), "is not in the catalogue"),
    "unknown cluster key": (edit("c.toml", "queue_limit", "queue_limits"), "did you mean 'queue_limit'"),
    "images to a model without eyes": (
        edit("s.toml", '[classes.chat]', '[classes.chat]\nimages = { count = { kind = "constant", value = 1 }, sizes_px = [[9, 9]] }'),
        "takes no images",
    ),
    "negative seed": (flag("--seed", "-1"), "--seed"),
    "seed that is no number": (flag("--seed", "one"), "--seed"),
    "unknown flag": (flag("--sed", "1"), "No such option"),
    "variant of a single scenario": (flag("--variant", "naive"), "belongs to a campaign"),
    "out and resume": (flag("--resume", "{folder}/out"), "cannot be given together"),
    "directory with something in it": (occupied, "exists and is not empty; choose another --out: a run is made anew"),
    "out is a file": (out_is_a_file, "exists and is a file"),
    "directory under a file": (flag("--out", "{folder}/c.toml/out"), "c.toml"),
    "trace for a scenario that replays none": (flag("--trace", "{folder}/trace.csv"), "takes no --trace"),
    "replay without a trace": (lambda f, a: replay(b"x")(f, a)[:-2], "name it with --trace FILE"),
    "empty trace": (replay(b""), "trace.csv"),
    "trace with a header only": (replay(TRACE.encode().splitlines(keepends=True)[0]), "trace.csv"),
    "trace with a wrong column": (replay(TRACE.replace("480", "many").encode()), "line 2"),
    "trace with a negative count": (replay(TRACE.replace("480", "-480").encode()), "line 2"),
    "trace of an unknown format": (replay(b"a,b\n1,2\n"), "trace.csv"),
    "window without a trace": (flag("--window", "10s"), "needs --trace FILE"),
    "window that is no duration": (replay(TRACE.encode(), "--window", "soon"), "--window"),
    "window beyond the trace": (replay(TRACE.encode(), "--window-start", "1h"), "trace.csv"),
}  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("breaks", "says"), CASES.values(), ids=CASES.keys())
def test_a_broken_input_gives_one_clear_message(
    tmp_path: Path, command: Command, breaks: Callable[[Path, list[str]], list[str]], says: str
) -> None:
    arguments = breaks(tmp_path, good(tmp_path))
    before = contents(tmp_path)
    answer = command(*arguments)
    assert answer.code == 2
    assert says in answer.err
    assert "Traceback" not in answer.err
    assert answer.out == ""
    assert contents(tmp_path) == before


def test_the_good_command_is_good(tmp_path: Path, command: Command) -> None:
    assert command(*good(tmp_path)).code == 0
    assert (tmp_path / "out" / "summary.json").is_file()


CAMPAIGN = """
schema = "loadlab/campaign/1"
name = "small"
[defaults]
cluster = "../c.toml"
[defaults.classes.chat]
model = "llm-14b"
prompt_tokens = { kind = "constant", value = 100 }
output_tokens = { kind = "constant", value = 10 }
[defaults.load]
kind = "open_loop"
requests = 5
arrivals = { kind = "constant", rate_per_s = 1 }
[experiments.A]
name = "a"
shows = "something"
"""

CAMPAIGN_CASES = {
    "an empty folder": ("", [], "campaign.toml"),
    "unknown variant": (CAMPAIGN, ["--variant", "fast"], "is not a variant"),
    "a target for a campaign": (CAMPAIGN, ["--target", "sim:c.toml"], "must be an http:// URL for a campaign"),
    "a cluster outside": (CAMPAIGN.replace("../c.toml", "../../c.toml"), [], "cluster"),
    "a cluster that is absent": (CAMPAIGN.replace("../c.toml", "../d.toml"), [], "experiment A"),
    "no experiment": (CAMPAIGN.partition("[experiments.A]")[0], [], "experiment"),
    "a bad experiment": (CAMPAIGN.replace("requests = 5", "requests = 0"), [], "requests"),
}


@pytest.mark.parametrize(("text", "more", "says"), CAMPAIGN_CASES.values(), ids=CAMPAIGN_CASES.keys())
def test_a_broken_campaign_gives_one_clear_message(tmp_path: Path, command: Command, text: str, more: list[str], says: str) -> None:
    folder = tmp_path / "campaign"
    folder.mkdir()
    (tmp_path / "c.toml").write_text(CLUSTER)
    if text:
        (folder / "campaign.toml").write_text(text)
    before = contents(tmp_path)
    answer = command("run", folder, "--out", tmp_path / "out", "--no-report", "-q", *more)
    assert answer.code == 2
    assert says in answer.err
    assert "Traceback" not in answer.err
    assert contents(tmp_path) == before
