from __future__ import annotations

import pytest

from loadlab.catalog.names import engine_name
from loadlab.catalog.specs import engines


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("vllm", "vllm"),
        ("vLLM-0.18", "vllm"),
        ("NIM (trtllm)", "trtllm"),
        ("TensorRT-LLM", "trtllm"),
        ("sglang", "sglang"),
        ("llama.cpp", "other"),
    ],
)
def test_an_engine_is_found_by_other_peoples_names(theirs: str, ours: str) -> None:
    assert engine_name(theirs) == ours
    assert ours in engines()
