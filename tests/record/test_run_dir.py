"""Run directories as files: written, killed, damaged, resumed."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from loadlab.errors import ExitCode, InputError
from loadlab.record.manifest import Status
from loadlab.record.request import Cause, Outcome
from loadlab.record.run_dir import REQUESTS_FILE, RecordingFailedError, RunDir
from loadlab.report.summary import load_table
from tests.record.examples import failed, five_requests, manifest, ok, small_run, timeline_row

ROOT = Path(__file__).parents[2]


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    written = small_run(tmp_path / "run")
    read = RunDir.open(tmp_path / "run")
    assert list(read.rows()) == five_requests()
    assert read.manifest == written.manifest == manifest(status=Status.COMPLETE)
    assert [row["t_s"] for row in read.timeline()] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert not read.torn_tail


def test_a_line_is_the_row_of_its_record(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    lines = (run.path / REQUESTS_FILE).read_bytes().splitlines()
    assert [orjson.loads(line) for line in lines] == [record.as_row() for record in five_requests()]
    assert list(orjson.loads(lines[0])) == list(five_requests()[0].as_row())


def test_equal_runs_are_equal_bytes(tmp_path: Path) -> None:
    one, two = small_run(tmp_path / "one"), small_run(tmp_path / "two")
    for name in ("manifest.json", "requests.jsonl", "server.jsonl"):
        assert (one.path / name).read_bytes() == (two.path / name).read_bytes()


def test_rows_are_sorted_by_seq_when_finalised(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", manifest())
    run.append([five_requests()[i] for i in (3, 0)])
    run.append([five_requests()[i] for i in (4, 2, 1)])
    assert run.finalise(5).status is Status.COMPLETE
    assert list(run.rows()) == five_requests()
    assert sorted(path.name for path in run.path.iterdir()) == ["manifest.json", "requests.jsonl"]


def test_an_interrupted_run_accounts_for_what_was_not_sent(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", manifest())
    run.append([ok(3), ok(0)])
    assert run.finalise(5, interrupted=True).status is Status.ABORTED
    rows = list(run.rows())
    assert [row.seq for row in rows] == [0, 1, 2, 3, 4]
    assert {(row.outcome, row.cause) for row in rows if row.seq in (1, 2, 4)} == {(Outcome.NOT_SENT, Cause.STOPPED)}


def test_rows_that_the_engine_lost_are_unknown_and_the_run_incomplete(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", manifest())
    run.append([ok(0), ok(1), ok(2), ok(4)])
    assert run.finalise(5).status is Status.INCOMPLETE
    assert [(row.outcome, row.cause) for row in run.rows() if row.seq == 3] == [(Outcome.UNKNOWN, Cause.LOST)]
    assert RunDir.open(run.path).manifest.status is Status.INCOMPLETE


def test_a_row_known_to_be_lost_makes_the_run_incomplete(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", manifest(planned=2))
    run.append([ok(0), failed(1, Cause.LOST, Outcome.UNKNOWN)])
    assert run.finalise(2).status is Status.INCOMPLETE


@pytest.mark.parametrize(
    ("seqs", "message"),
    [([0, 1, 1], "seq 1 is there twice"), ([0, 1, 7], "seq 7 is not in the plan of 5 requests")],
)
def test_rows_that_contradict_the_plan_are_refused(tmp_path: Path, seqs: list[int], message: str) -> None:
    run = RunDir.create(tmp_path / "run", manifest())
    run.append(map(ok, seqs))
    with pytest.raises(InputError, match=message):
        run.finalise(5)
    assert RunDir.open(run.path).manifest.status is Status.RUNNING


def test_an_empty_plan_is_complete(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", manifest(planned=0))
    assert run.finalise(0).status is Status.COMPLETE
    assert list(run.rows()) == []


def test_an_existing_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="exists and is not empty; choose another --out"):
        RunDir.create(tmp_path, manifest())
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    assert RunDir.create(tmp_path, manifest()).path == tmp_path


def test_replace_empties_an_earlier_run_but_nothing_of_anybody_else(tmp_path: Path) -> None:
    small_run(tmp_path / "run")
    (tmp_path / "run" / ".requests.jsonl.sorted").write_bytes(b"killed while sorting")
    assert list(RunDir.create(tmp_path / "run", manifest(), replace=True).rows()) == []
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds 'notes\.txt', which is not loadlab's"):
        RunDir.create(tmp_path / "run", manifest(), replace=True)
    assert (tmp_path / "run" / "manifest.json").exists()


def test_a_file_in_the_way_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file: exists and is a file; choose another --out"):
        RunDir.create(tmp_path / "file", manifest())
    with pytest.raises(InputError, match="cannot be written: Not a directory"):
        RunDir.create(tmp_path / "file" / "run", manifest())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_clear_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written: Permission denied"):
        RunDir.create(tmp_path / "run", manifest())


def test_a_torn_last_line_is_dropped_and_reported(tmp_path: Path) -> None:
    with RunDir.create(tmp_path / "run", manifest()) as run:
        run.append(five_requests())
    path = run.path / REQUESTS_FILE
    path.write_bytes(path.read_bytes()[:-20])
    torn = RunDir.open(run.path)
    assert torn.torn_tail
    assert list(torn.rows()) == five_requests()[:4]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:-20], "line 5 has no end: the file was cut off after the run had completed with 5"),
        (lambda data: b"".join(data.splitlines(keepends=True)[:3]), "line 3 is the last: the file was cut off"),
        (lambda data: b"", "holds no row: the file was cut off"),
        (lambda data: data + data.splitlines(keepends=True)[0], "holds 6 rows: the file was changed"),
        (lambda data: data.splitlines(keepends=True)[1] + b"".join(data.splitlines(keepends=True)[1:]), "a seq is there twice"),
    ],
)
def test_a_complete_run_that_lost_or_gained_rows_is_no_run(tmp_path: Path, damage: Callable[[bytes], bytes], said: str) -> None:
    path = small_run(tmp_path / "run").path / REQUESTS_FILE
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=said) as error:
        load_table(RunDir.open(path.parent))
    assert str(path) in str(error.value)


def test_a_torn_run_is_finalised_from_its_whole_rows(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    path = run.path / REQUESTS_FILE
    path.write_bytes(path.read_bytes()[:-20])
    torn = RunDir.open(run.path)
    assert torn.finalise(5).status is Status.INCOMPLETE
    assert [row.outcome for row in torn.rows()] == [Outcome.OK, Outcome.REJECTED, Outcome.OK, Outcome.TIMEOUT, Outcome.UNKNOWN]
    assert not torn.torn_tail
    assert not RunDir.open(run.path).torn_tail


def test_rows_appended_to_an_opened_run_join_those_in_the_file(tmp_path: Path) -> None:
    with RunDir.create(tmp_path / "run", manifest()) as run:
        run.append(five_requests()[3:])
    again = RunDir.open(tmp_path / "run")
    again.append(five_requests()[:3])
    assert again.finalise(5).status is Status.COMPLETE
    assert list(again.rows()) == five_requests()


WRITER = """
import sys
from collections.abc import Callable
from pathlib import Path
from loadlab.record.run_dir import RunDir
from tests.record.examples import manifest, ok
run = RunDir.create(Path(sys.argv[1]), manifest(planned=10**9))
for start in range(0, 10**9, 500):
    run.append(ok(i) for i in range(start, start + 500))
    if start == 50_000:
        print("far enough", flush=True)
"""


def test_a_run_killed_in_mid_write_can_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"far enough\n"
        child.send_signal(signal.SIGKILL)
    run = RunDir.open(path)
    rows = list(run.rows())
    assert run.manifest.status is Status.RUNNING
    assert len(rows) > 10_000
    assert rows == [ok(i) for i in range(len(rows))]


def test_a_full_disk_keeps_the_rows_so_far_and_says_so(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", manifest(planned=10_000))
    old, old_handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, old[1]))
    try:
        with pytest.raises(RecordingFailedError, match=r"requests.jsonl: cannot be written: File too large\. Rows up to here are kept"):
            run.append(ok(i) for i in range(10_000))
        with pytest.raises(RecordingFailedError):
            run.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, old_handler)
    assert RecordingFailedError.exit_code is ExitCode.INCOMPLETE
    kept = list(RunDir.open(run.path).rows())
    assert kept == [ok(i) for i in range(len(kept))]
    assert len(kept) > 100


ROW = orjson.dumps(ok(0).as_row())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"not json", "line 2: is not JSON"),
        (b'{"seq": 1', "line 2: is not JSON"),
        (b"[1, 2]", "line 2: is not a JSON object"),
        (b'{"time": 3.5, "level": "info"}', "line 2: seq = None must be int; is this a file of loadlab"),
        (b'{"seq": 1, "outcome": "fine"}', "line 2: outcome = 'fine' must be one of ok, rejected"),
        (b'{"seq": 1, "outcome": "timeout", "cause": "gremlins"}', "line 2: cause = 'gremlins' is not one"),
        (b'{"seq": -1, "outcome": "ok"}', "line 2: seq = -1 must be >= 0"),
        (b'{"seq": 1, "outcome": "ok", "finished_s": "late"}', "line 2: finished_s = 'late' must be float or int or null"),
        (b'{"seq": true, "outcome": "ok"}', "line 2: seq = True must be int"),
        (b"\xff\xfe", "line 2: is not JSON"),
        (b"", "line 2: is not JSON"),
        (ROW + b", " + ROW, "line 2: is not JSON"),
    ],
)
def test_a_damaged_row_is_one_error_with_file_and_line(tmp_path: Path, line: bytes, message: str) -> None:
    run = small_run(tmp_path / "run")
    (run.path / REQUESTS_FILE).write_bytes(ROW + b"\n" + line + b"\n" + ROW + b"\n")
    with pytest.raises(InputError, match=message) as caught:
        list(RunDir.open(run.path).rows())
    assert str(caught.value).startswith(str(run.path / REQUESTS_FILE))


def test_a_damaged_row_is_the_same_error_for_whoever_reads_columns(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    with (run.path / REQUESTS_FILE).open("ab") as file:
        file.write(b'{"seq":7,"outcome":"ok","turn":"one"}\n')
    with pytest.raises(InputError, match="line 6: turn = 'one' must be int or null"):
        list(RunDir.open(run.path).column_chunks())


def test_columns_of_a_later_minor_version_are_ignored_and_absent_ones_are_none(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", manifest(1))
    (run.path / REQUESTS_FILE).write_bytes(b'{"seq": 0, "outcome": "oom", "cause": "oom_reported", "colour": "red"}\n')
    (row,) = RunDir.open(run.path).rows()
    assert (row.outcome, row.scheduled_s, row.tokens_estimated) == (Outcome.OOM, None, False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"replica": 3}, "line 1: replica = 3 must be str"),
        ({"dt_s": 0.0}, "line 1: dt_s must be > 0"),
        ({"t_s": None}, "line 1: t_s = None"),
    ],
)
def test_a_damaged_timeline_is_one_error(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    run = small_run(tmp_path / "run")
    (run.path / "server.jsonl").write_bytes(orjson.dumps(timeline_row(0.0) | changes) + b"\n")
    with pytest.raises(InputError, match=message):
        list(run.timeline())


def test_a_run_without_server_data_has_an_empty_timeline(tmp_path: Path) -> None:
    assert list(RunDir.create(tmp_path / "run", manifest()).timeline()) == []


def test_a_summary_is_replaced_whole(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    run.save_summary(b"old")
    run.save_summary(b"new")
    assert (run.path / "summary.json").read_bytes() == b"new"
    assert not list(run.path.glob(".*"))
