"""`loadlab catalog`: rows for people and for machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import Command


@pytest.mark.parametrize(("what", "expected"), [("gpus", "H100"), ("links", "nvlink4"), ("models", "deepseek-v3")])
def test_a_table_names_rows_and_sources(command: Command, what: str, expected: str) -> None:
    shown = command("catalog", what)
    assert shown.code == 0
    assert expected in shown.out
    assert "Sources" in shown.out


def test_json_has_every_figure_and_what_follows_from_them(command: Command) -> None:
    table = json.loads(command("catalog", "models", "--json").out)
    assert table["schema"] == "loadlab/catalog/1"
    row = table["rows"]["llama-3.1-8b-instruct"]
    assert (row["layers"], row["kv_bytes_per_token"]) == (32, 131_072)
    assert row["parameters"] == pytest.approx(8.03e9, rel=0.001)


def test_a_models_folder_that_is_not_there_is_bad_input(command: Command, tmp_path: Path) -> None:
    shown = command("catalog", "models", "--models", str(tmp_path / "none"))
    assert shown.code == 2
    assert "is not a folder with config.json files" in shown.err
