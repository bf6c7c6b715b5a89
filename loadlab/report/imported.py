"""What a reader must know of results that another tool measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

IMPORTED = "imported"  # `engine` of their manifests
_LOOPS = {
    "open_loop": "open loop: arrivals followed a clock",
    "closed_loop": "CLOSED LOOP: a slow server was asked less, latencies look better than what users at a steady rate would see",
    "unknown": "open or closed loop is not known: of a closed one, latencies look better than what users at a steady rate would see",
}


def loop_sentence(loop: str) -> str:
    """What kind of load it was."""
    return _LOOPS.get(loop, _LOOPS["unknown"])


def imported_sentences(summary: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """(sentence, is it an alarm) about the summary of an imported run: its loop, then what its tool does not say; none of our own runs."""
    if summary.get("engine") != IMPORTED:
        return
    facts: Mapping[str, Any] = next(iter(summary.get("conditions", ())), {})
    said = loop_sentence(str(facts.get("loop")))
    yield f"{said[0].upper()}{said[1:]}.", facts.get("loop") != "open_loop"
    for note in facts.get("notes", ()):
        yield f"{note}.", False


def imported_warning(path: str, engine: str, conditions: list[Mapping[str, Any]]) -> str | None:
    """One sentence about a run that was imported; None of our own."""
    if engine != IMPORTED:
        return None
    facts = conditions[0] if conditions else {}
    tool, loop = facts.get("tool", "another tool"), loop_sentence(str(facts.get("loop")))
    return f"{path} was measured by {tool}, whose own delay is not known; {loop}"
