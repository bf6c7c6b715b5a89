"""Rows of the JSON-lines formats, Mooncake and Bailian: lengths, and the ids of the blocks that the prompt is made of."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from loadlab.errors import InputError
from loadlab.scenario.trace_formats.rows import (
    MAX_BLOCK_ID,
    MAX_TIME_NS,
    MAX_TOKENS,
    NS_PER_S,
    Lines,
    OpenedTrace,
    Row,
    Tally,
    TraceFormat,
    bad_value,
)
from loadlab.schema import shown

MOONCAKE_BLOCK_TOKENS, BAILIAN_BLOCK_TOKENS = 512, 16  # their READMEs
NS_PER_MS = 10**6
MISFIT = "list more or fewer block ids than the prompt has blocks, and count as prompts that share nothing"


def json_lines(first: tuple[int, str], lines: Lines, source: str) -> OpenedTrace:
    """Bailian's rows name a chat, and count seconds; Mooncake's do not, and count milliseconds."""
    head = _parse(*first, source)
    if "timestamp" not in head or "input_length" not in head:
        raise InputError(f"= {shown(first[1])} is not a row of mooncake or bailian", source=source, key=f"line {first[0]}")
    is_bailian = "chat_id" in head
    unit_ns, block = (NS_PER_S, BAILIAN_BLOCK_TOKENS) if is_bailian else (NS_PER_MS, MOONCAKE_BLOCK_TOKENS)
    found = TraceFormat.BAILIAN if is_bailian else TraceFormat.MOONCAKE
    tally = Tally()
    return OpenedTrace(found, _rows(first, lines, source, unit_ns, block, tally), tally, block_tokens=block)


def _parse(line: int, text: str, source: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InputError(f"is not valid JSON ({error.msg}): was the file cut short?", source=source, key=f"line {line}") from None
    if not isinstance(value, dict):
        raise InputError(f"= {shown(text)} is not a JSON object", source=source, key=f"line {line}")
    return value


def _rows(first: tuple[int, str], lines: Lines, source: str, unit_ns: int, block: int, tally: Tally) -> Iterator[Row]:
    yield _row(*first, source, unit_ns, block, tally)
    for line, text in lines:
        yield _row(line, text, source, unit_ns, block, tally)


def _row(line: int, text: str, source: str, unit_ns: int, block: int, tally: Tally) -> Row:
    row = _parse(line, text, source)
    prompt, output = _tokens(row, "input_length", line, source), _tokens(row, "output_length", line, source)
    time = row.get("timestamp")
    if isinstance(time, bool) or not isinstance(time, int | float) or not 0 <= time * unit_ns <= MAX_TIME_NS:
        raise bad_value(source, line, "timestamp", time, "a time, 0 or more")
    blocks: Sequence[int] = _blocks(row, line, source)
    if blocks and len(blocks) != -(-prompt // block):
        tally.count(MISFIT, line)
        blocks = ()
    label = row.get("type", "")
    return Row(line, round(time * unit_ns), prompt, output, label if isinstance(label, str) else "", 0, blocks)


def _tokens(row: dict[str, Any], name: str, line: int, source: str) -> int:
    value = row.get(name)
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_TOKENS:
        raise bad_value(source, line, name, value, f"a whole number of tokens, 0 to {MAX_TOKENS:,}")
    count: int = value
    return count


def _blocks(row: dict[str, Any], line: int, source: str) -> Sequence[int]:
    ids = row.get("hash_ids", ())
    if not ids and ids in ((), [], None):
        return ()
    try:
        blocks = array("q", ids)  # 8 bytes an id, and it refuses what is no whole number
        low, high = min(ids), max(ids)
    except (TypeError, OverflowError):
        low = high = -1
    if not isinstance(ids, list) or low < 0 or high > MAX_BLOCK_ID or (low < 2 and not all(type(i) is int for i in ids)):
        raise bad_value(source, line, "hash_ids", ids, "a list of whole numbers, 0 or more")
    return blocks
