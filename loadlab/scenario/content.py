"""What the requests say: lengths, texts and images of every planned request, drawn class by class from separate streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from loadlab.errors import InputError
from loadlab.scenario import lengths
from loadlab.scenario.applications import Agent
from loadlab.scenario.joint import Pairs, draw_copula, draw_pairs
from loadlab.scenario.limits import MAX_IMAGES, MAX_SEGMENTS
from loadlab.scenario.model import Images, TrafficClass
from loadlab.scenario.modes import mode_lengths
from loadlab.scenario.plan import IntArray, Labels
from loadlab.scenario.rag import corpus, found_chunks
from loadlab.scenario.reuse import draw_pieces
from loadlab.scenario.sessions import NO_LIMIT, Texts, segments
from loadlab.scenario.streams import Stream, class_rng, load_rng
from loadlab.scenario.timeline import NamedClass, Timeline, same
from loadlab.scenario.traces import Blocks, TraceColumns

MAX_CONTENT = 2**63 - 1
Rows = slice | NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """The columns of a plan that describe text: see `RequestPlan`."""

    prompt_tokens: IntArray
    output_tokens: IntArray
    output_content: IntArray
    segment_offsets: IntArray
    segment_content: IntArray
    segment_tokens: IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """The columns of a plan that describe images: see `RequestPlan`."""

    image_offsets: IntArray
    image_content: IntArray
    image_width_px: IntArray
    image_height_px: IntArray


def build_prompts(timeline: Timeline, classes: Sequence[NamedClass], mode: Labels, seed: int, trace: TraceColumns | None) -> Prompts:
    """Texts of every request; the lengths of a class's own texts and answers come from its laws and modes, or from the trace."""
    n = len(timeline.owner)
    contents = np.empty((n, 2), dtype=np.int64)
    prefix_content = np.empty(len(classes), dtype=np.int64)
    own, output = (np.empty(n, dtype=np.int64) for _ in range(2)) if trace is None else (trace.prompt_tokens, trace.output_tokens)
    for k, rows, count in _rows_by_class(timeline.owner, len(classes)):
        name, traffic_class = classes[k]
        texts_rng = class_rng(seed, name, Stream.TEXT)
        prefix_content[k] = _contents(texts_rng, 1)[0]
        contents[rows] = _contents(texts_rng, 2 * count).reshape(count, 2)
        if trace is None:
            own[rows], base = _lengths(traffic_class, count, class_rng(seed, name, Stream.PROMPT), class_rng(seed, name, Stream.OUTPUT))
            output[rows] = _answers(traffic_class, base, mode, rows)
        if traffic_class.agent is not None:
            tools_rng = class_rng(seed, name, Stream.TOOLS)
            own[rows], output[rows] = _at_tools(traffic_class.agent, timeline.turn[rows], own[rows], output[rows], tools_rng)
    if trace is not None and trace.blocks is not None:
        return _of_blocks(trace.blocks, own, output, contents, seed)
    if any(c.reuse is not None for _, c in classes):
        return _with_reuse(timeline.owner, classes, own, output, contents, seed)
    if all(c.turns is None and c.rag is None for _, c in classes):
        return _own_texts_only(own, output, contents)
    prompts = _with_context(timeline, classes, own, output, contents, prefix_content)
    return prompts if all(c.rag is None for _, c in classes) else _with_chunks(prompts, timeline.owner, classes, seed)


def _lengths(traffic_class: TrafficClass, n: int, prompt_rng: Generator, output_rng: Generator) -> tuple[IntArray, IntArray]:
    """Tokens of n requests' own texts, and of their answers before modes."""
    if isinstance(traffic_class.joint, Pairs):
        return draw_pairs(traffic_class.joint, n, prompt_rng)
    assert traffic_class.prompt_tokens is not None, "a class has both laws, or pairs, or a trace"
    assert traffic_class.output_tokens is not None, "a class has both laws, or pairs, or a trace"
    if traffic_class.joint is not None:
        return draw_copula(traffic_class.joint, traffic_class.prompt_tokens, traffic_class.output_tokens, n, (prompt_rng, output_rng))
    return lengths.draw(traffic_class.prompt_tokens, n, prompt_rng), lengths.draw(traffic_class.output_tokens, n, output_rng)


def _answers(traffic_class: TrafficClass, base: IntArray, mode: Labels, rows: Rows) -> IntArray:
    if traffic_class.modes is None:
        return base
    return mode_lengths(traffic_class.modes, mode, mode.codes[rows], base, 1 if traffic_class.generates else 0)


def _at_tools(agent: Agent, turn: IntArray, own: IntArray, output: IntArray, rng: Generator) -> tuple[IntArray, IntArray]:
    """Lengths of an agent's calls: its later prompts are results of tools, and all answers but the last of a run are calls."""
    results_rng, calls_rng = rng.spawn(2)
    results = lengths.draw(agent.result_tokens, len(turn), results_rng)
    calls = lengths.draw(agent.call_tokens, len(turn), calls_rng) + agent.json_tokens
    is_last = np.append(turn[1:] == 0, True)
    return np.where(turn > 0, results, own), np.where(is_last, output, calls)


def _own_texts_only(own: IntArray, output: IntArray, contents: IntArray) -> Prompts:
    return Prompts(
        prompt_tokens=own,
        output_tokens=output,
        output_content=np.ascontiguousarray(contents[:, 1]),
        segment_offsets=np.arange(len(own) + 1),
        segment_content=np.ascontiguousarray(contents[:, 0]),
        segment_tokens=own,
    )


def _of_blocks(blocks: Blocks, own: IntArray, output: IntArray, contents: IntArray, seed: int) -> Prompts:
    """Prompts in the pieces that a trace names: equal ids are equal texts, and a row without ids is one piece of its own."""
    counts = np.diff(blocks.offsets)
    sizes = np.maximum(counts, 1)
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    lists = np.repeat(counts > 0, sizes)
    segment_content, segment_tokens = np.repeat(contents[:, 0], sizes), np.repeat(own, sizes)
    segment_content[lists] = _content_of(blocks.ids, seed)
    segment_tokens[lists] = blocks.tokens
    rest = own - (counts - 1) * blocks.tokens
    segment_tokens[offsets[1:] - 1] = np.where(counts > 0, rest, own)
    return Prompts(
        prompt_tokens=own,
        output_tokens=output,
        output_content=np.ascontiguousarray(contents[:, 1]),
        segment_offsets=offsets,
        segment_content=segment_content,
        segment_tokens=segment_tokens,
    )


def _with_reuse(owner: IntArray, classes: Sequence[NamedClass], own: IntArray, output: IntArray, contents: IntArray, seed: int) -> Prompts:
    """Prompts of pieces: repeated ones first, then one of its own."""
    pieces, tokens_of_piece = np.zeros(len(own), dtype=np.int64), np.ones(len(own), dtype=np.int64)
    found = []
    for k, rows, _ in _rows_by_class(owner, len(classes)):
        name, c = classes[k]
        if c.reuse is not None:
            rng = class_rng(seed, name, Stream.REUSE)
            salt = int(rng.integers(2**63))
            pieces[rows], ids = draw_pieces(c.reuse, own[rows], rng)
            tokens_of_piece[rows] = c.reuse.piece_tokens
            found.append((rows, _mixed_bits(ids, salt)))
    offsets = np.concatenate(([0], np.cumsum(pieces + 1)))
    segment_content, segment_tokens = np.repeat(contents[:, 0], pieces + 1), np.repeat(tokens_of_piece, pieces + 1)
    for rows, content in found:
        places = np.repeat(offsets[:-1][rows] - np.cumsum(pieces[rows]) + pieces[rows], pieces[rows]) + np.arange(len(content))
        segment_content[places] = content
    segment_tokens[offsets[1:] - 1] = own - pieces * tokens_of_piece
    return Prompts(
        prompt_tokens=own,
        output_tokens=output,
        output_content=np.ascontiguousarray(contents[:, 1]),
        segment_offsets=offsets,
        segment_content=segment_content,
        segment_tokens=segment_tokens,
    )


def _content_of(ids: IntArray, seed: int) -> IntArray:
    """A text for each block id of a trace."""
    return _mixed_bits(ids, int(load_rng(seed, Stream.REPLAY).integers(2**63)))


def _mixed_bits(ids: IntArray, salt: int) -> IntArray:
    """63 bits by the finalizer of SplitMix64 (Steele, Lea & Flood, 2014), so that no two ids are one text and none is by chance that
    of another prompt."""
    x = ids.astype(np.uint64) ^ np.uint64(salt)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    contents: IntArray = ((x ^ (x >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)
    return contents


def _context(traffic_class: TrafficClass) -> tuple[bool, int, int]:
    """Whether a class sends its history, the tokens of its shared beginning, and the limit of its context."""
    agent, sessions = traffic_class.agent, traffic_class.sessions
    if agent is not None:
        return True, agent.system_tokens + agent.tool_schema_tokens, agent.max_context_tokens or NO_LIMIT
    instructions = 0 if traffic_class.rag is None else traffic_class.rag.instructions_tokens
    if sessions is None:
        return False, instructions, NO_LIMIT
    return sessions.history, sessions.shared_prefix_tokens + instructions, sessions.max_context_tokens or NO_LIMIT


def _with_context(
    timeline: Timeline, classes: Sequence[NamedClass], own: IntArray, output: IntArray, contents: IntArray, prefix_content: IntArray
) -> Prompts:
    history, prefix_tokens, limits = (np.array(column) for column in zip(*(_context(c) for _, c in classes), strict=True))
    owner, rows = timeline.owner, np.arange(len(own))
    texts = Texts(
        own_tokens=own,
        output_tokens=output,
        contents=contents,
        first_row=np.where(history[owner], rows - timeline.turn, rows),
        prefix_tokens=prefix_tokens[owner],
        prefix_content=prefix_content[owner],
        max_context_tokens=limits[owner],
    )
    offsets, segment_content, segment_tokens = segments(texts)
    return Prompts(
        prompt_tokens=np.add.reduceat(segment_tokens, offsets[:-1]) if len(own) else own,
        output_tokens=output,
        output_content=np.ascontiguousarray(contents[:, 1]),
        segment_offsets=offsets,
        segment_content=segment_content,
        segment_tokens=segment_tokens,
    )


def _with_chunks(prompts: Prompts, owner: IntArray, classes: Sequence[NamedClass], seed: int) -> Prompts:
    """Puts the chunks that were found into each prompt, before its own text."""
    top_k = np.array([0 if c.rag is None else c.rag.top_k for _, c in classes])[owner]
    shift = np.cumsum(top_k)
    old, offsets = prompts.segment_offsets, prompts.segment_offsets + np.concatenate(([0], shift))
    if offsets[-1] > MAX_SEGMENTS:
        problem = (
            f"gives prompts of {offsets[-1]:,} pieces in all, and a plan holds {MAX_SEGMENTS:,}: ask for fewer chunks, or split the run"
        )
        raise InputError(problem, key="rag.top_k")
    content, tokens = np.empty(offsets[-1], dtype=np.int64), np.empty(offsets[-1], dtype=np.int64)
    counts = np.diff(old)
    is_own = np.zeros(old[-1], dtype=np.int64)
    is_own[old[1:] - 1] = 1
    place = np.arange(old[-1]) + np.repeat(shift - top_k, counts) + is_own * np.repeat(top_k, counts)
    content[place], tokens[place] = prompts.segment_content, prompts.segment_tokens
    more = np.zeros(len(owner), dtype=np.int64)
    for k, rows, count in _rows_by_class(owner, len(classes)):
        name, c = classes[k]
        if c.rag is not None:
            ranks = found_chunks(c.rag, count, class_rng(seed, name, Stream.CHUNKS))
            chunk_content, chunk_tokens = corpus(c.rag, seed, name)
            at = (offsets[1:][rows] - 1 - c.rag.top_k)[:, np.newaxis] + np.arange(c.rag.top_k)
            content[at], tokens[at] = chunk_content[ranks], chunk_tokens[ranks]
            more[rows] = chunk_tokens[ranks].sum(axis=1)
    return replace(
        prompts, prompt_tokens=prompts.prompt_tokens + more, segment_offsets=offsets, segment_content=content, segment_tokens=tokens
    )


def build_pictures(timeline: Timeline, classes: Sequence[NamedClass], seed: int) -> Pictures:
    """Images of every request, in the plan's order. Raises InputError if there are more than MAX_IMAGES."""
    n = len(timeline.owner)
    if all(traffic_class.images is None for _, traffic_class in classes):
        none = np.empty(0, dtype=np.int64)
        return Pictures(image_offsets=same(0, n + 1), image_content=none, image_width_px=none, image_height_px=none)
    counts = np.zeros(n, dtype=np.int64)
    for k, rows, count in _rows_by_class(timeline.owner, len(classes)):
        name, traffic_class = classes[k]
        if traffic_class.images is not None:
            counts[rows] = lengths.draw(traffic_class.images.count, count, class_rng(seed, name, Stream.IMAGE_COUNT))
        if counts.sum() > MAX_IMAGES:
            problem = f"gives {counts.sum():,} images, and a plan holds {MAX_IMAGES:,}: ask for fewer, or split the run"
            raise InputError(problem, key=f"classes.{name}.images.count")
    owner_of_image = np.repeat(timeline.owner, counts)
    content, size = np.empty(len(owner_of_image), dtype=np.int64), np.empty((len(owner_of_image), 2), dtype=np.int64)
    for k, images, count in _rows_by_class(owner_of_image, len(classes)):
        name, traffic_class = classes[k]
        if traffic_class.images is not None:
            content[images] = _contents(class_rng(seed, name, Stream.IMAGE_CONTENT), count)
            size[images] = _sizes(traffic_class.images, count, class_rng(seed, name, Stream.IMAGE_SIZE))
    return Pictures(
        image_offsets=np.concatenate(([0], np.cumsum(counts))),
        image_content=content,
        image_width_px=np.ascontiguousarray(size[:, 0]),
        image_height_px=np.ascontiguousarray(size[:, 1]),
    )


def _sizes(images: Images, n: int, rng: Generator) -> IntArray:
    return np.asarray(images.sizes_px, dtype=np.int64)[lengths.draw_choices(images.weights, len(images.sizes_px), n, rng)]


def _contents(rng: Generator, n: int) -> IntArray:
    return rng.integers(0, MAX_CONTENT, size=n, endpoint=True)


def _rows_by_class(owner: IntArray, classes: int) -> Iterator[tuple[int, Rows, int]]:
    """(class, its rows, how many); a slice instead of indices where there is one class only."""
    if classes == 1:
        yield 0, slice(None), len(owner)
        return
    for k in range(classes):
        rows = np.flatnonzero(owner == k)
        yield k, rows, len(rows)
