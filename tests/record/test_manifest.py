"""`manifest.json`: what is refused, and how it is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from loadlab.errors import InputError
from loadlab.record.manifest import MANIFEST_FILE, load_host_facts, load_manifest, load_versions, save_manifest
from tests.record.examples import manifest


def test_the_manifest_names_its_schema_and_keeps_host_facts_in_one_block(tmp_path: Path) -> None:
    save_manifest(tmp_path, manifest())
    table = orjson.loads((tmp_path / MANIFEST_FILE).read_bytes())
    assert table["schema"] == "loadlab/manifest/1"
    assert list(table["host"]) == ["t0", "argv", "hostname", "platform", "git_commit"]
    assert not set(table["host"]) & set(table)
    assert load_manifest(tmp_path) == manifest()


def _write(directory: Path, **changes: Any) -> None:
    save_manifest(directory, manifest())
    path = directory / MANIFEST_FILE
    table = orjson.loads(path.read_bytes()) | changes
    path.write_bytes(orjson.dumps({key: value for key, value in table.items() if value != "absent"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "loadlab/manifest/2"}, "schema = 'loadlab/manifest/2' is not one that this version reads"),
        ({"schema": "absent"}, "schema = None is not one"),
        ({"status": "fine"}, "status = 'fine' must be one of running, complete, incomplete, aborted"),
        ({"status": ["running"]}, "status = .* must be one of"),
        ({"planned": -1}, "planned = -1 must be int >= 0"),
        ({"planned": True}, "planned = True must be int >= 0"),
        ({"seed": "1"}, "seed = '1' must be int"),
        ({"plan_digest": "absent"}, "plan_digest is missing; the file is damaged"),
        ({"conditions": {}}, "conditions = {} must be list"),
        ({"host": {}}, "host must be an object with t0, argv"),
    ],
)
def test_a_foreign_or_damaged_manifest_is_refused_by_key(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    _write(tmp_path, **changes)
    with pytest.raises(InputError, match=message) as caught:
        load_manifest(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / MANIFEST_FILE))


def test_keys_of_a_later_minor_version_are_ignored(tmp_path: Path) -> None:
    _write(tmp_path, weather="fine")
    assert load_manifest(tmp_path) == manifest()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b'{"schema":\n "loadlab', "line 2: is not JSON"), (b"[]", "line 1: is not a JSON object"), (b"", "line 1: is not JSON")],
)
def test_a_truncated_manifest_is_one_error_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / MANIFEST_FILE).write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_manifest(tmp_path)


def test_a_folder_without_manifest_or_no_folder_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no manifest\.json, so it is not a run directory"):
        load_manifest(tmp_path)
    with pytest.raises(InputError, match=r"does not exist\. A run directory is what `loadlab run --out` writes"):
        load_manifest(tmp_path / "absent")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file, not a run directory"):
        load_manifest(tmp_path / "file")


def test_host_facts_take_time_and_command_as_handed_in() -> None:
    facts = load_host_facts("2026-01-14T10:15:00Z", ["loadlab", "run"])
    assert (facts.t0, facts.argv) == ("2026-01-14T10:15:00Z", ("loadlab", "run"))
    assert set(load_versions()) == {"loadlab", "python", "numpy"}
