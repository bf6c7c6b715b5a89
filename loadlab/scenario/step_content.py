"""What the steps around main requests say: prompts made of the main request's pieces, and answers of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from loadlab.errors import InputError
from loadlab.scenario import lengths
from loadlab.scenario.applications import STEPS, Step
from loadlab.scenario.content import Pictures, Prompts
from loadlab.scenario.limits import MAX_SEGMENTS
from loadlab.scenario.model import TrafficClass
from loadlab.scenario.plan import IntArray
from loadlab.scenario.steps import ARBITER, CHECK, EMBED, EXPERT, MAIN, ROUTE, Layout
from loadlab.scenario.streams import Stream, class_rng
from loadlab.scenario.timeline import NamedClass

MAX_CONTENT = 2**63 - 1


def pictures_of_steps(pictures: Pictures, layout: Layout) -> Pictures:
    """The images of all rows: those of main requests, and none for steps."""
    counts = np.zeros(len(layout.main), dtype=np.int64)
    counts[layout.step == MAIN] = np.diff(pictures.image_offsets)
    return replace(pictures, image_offsets=np.concatenate(([0], np.cumsum(counts))))


def prompts_of_steps(prompts: Prompts, layout: Layout, classes: Sequence[NamedClass], seed: int) -> Prompts:
    """The texts of all rows. `prompts` are those of the main requests.

    route: the question, then instructions. embed: the question. check: the main prompt. arbiter: the question, every answer, then
    instructions. expert: the main prompt, its answer, then the handover. Questions are the main requests' own texts.
    """
    main, step, owner = layout.main, layout.step, layout.timeline.owner
    shared_content, shared_tokens = _shared_texts(classes, seed)
    answer_tokens, answer_content = _answers(prompts, layout, classes, seed)
    base = np.diff(prompts.segment_offsets)[main]
    copies = np.isin(step, (MAIN, CHECK, EXPERT))
    answers = np.where(step == ARBITER, layout.after_count, np.where(step == EXPERT, 1, 0))
    has_shared = np.isin(step, (ROUTE, ARBITER, EXPERT))
    counts = np.where(copies, base, 1) + answers + has_shared
    offsets = np.concatenate(([0], np.cumsum(counts)))
    if offsets[-1] > MAX_SEGMENTS:
        raise InputError(f"gives prompts of {offsets[-1]:,} pieces in all, and a plan holds {MAX_SEGMENTS:,}: split the run", key="load")
    content, tokens = np.empty(offsets[-1], dtype=np.int64), np.empty(offsets[-1], dtype=np.int64)

    beginning = np.where(copies, base, 1)  # the main prompt's pieces, or of them only the last: the question
    source = _runs(np.where(copies, prompts.segment_offsets[:-1][main], prompts.segment_offsets[1:][main] - 1), beginning)
    place = _runs(offsets[:-1], beginning)
    content[place], tokens[place] = prompts.segment_content[source], prompts.segment_tokens[source]

    first_answer = np.where(step == ARBITER, layout.timeline.after_seq - layout.after_count + 1, _main_row(layout))
    place, source = _runs(offsets[:-1] + beginning, answers), _runs(first_answer, answers)
    content[place], tokens[place] = answer_content[source], answer_tokens[source]

    at = offsets[1:][has_shared] - 1
    content[at], tokens[at] = shared_content[owner, step][has_shared], shared_tokens[owner, step][has_shared]
    return Prompts(
        prompt_tokens=np.add.reduceat(tokens, offsets[:-1]),
        output_tokens=answer_tokens,
        output_content=answer_content,
        segment_offsets=offsets,
        segment_content=content,
        segment_tokens=tokens,
    )


def _runs(starts: IntArray, counts: IntArray) -> IntArray:
    """starts[0], starts[0] + 1 .. counts[0] of them, then those of the next."""
    before = np.cumsum(counts) - counts
    numbers: IntArray = np.arange(int(counts.sum())) + np.repeat(starts - before, counts)
    return numbers


def _main_row(layout: Layout) -> IntArray:
    """The row of each row's main request."""
    return np.flatnonzero(layout.step == MAIN)[layout.main]


def _shared_texts(classes: Sequence[NamedClass], seed: int) -> tuple[IntArray, IntArray]:
    """Content and tokens of the text that every request of a step ends with: int64[classes, steps] each."""
    content = np.array([class_rng(seed, name, Stream.STEPS).integers(0, MAX_CONTENT, size=len(STEPS)) for name, _ in classes])
    tokens = np.zeros((len(classes), len(STEPS)), dtype=np.int64)
    for k, (_, c) in enumerate(classes):
        if c.router is not None:
            tokens[k, ROUTE] = c.router.instructions_tokens
        if c.fan_out is not None and c.fan_out.arbiter is not None:
            tokens[k, ARBITER] = c.fan_out.arbiter.instructions_tokens
        if c.escalation is not None:
            tokens[k, EXPERT] = c.escalation.handover_tokens
    return content, tokens


def _answers(prompts: Prompts, layout: Layout, classes: Sequence[NamedClass], seed: int) -> tuple[IntArray, IntArray]:
    """Tokens and content of the answer of every row; an embedding has none."""
    step, owner = layout.step, layout.timeline.owner
    tokens, content = prompts.output_tokens[layout.main], prompts.output_content[layout.main]
    tokens[step == EMBED] = 0
    for k, (name, c) in enumerate(classes):
        _, *rngs = class_rng(seed, name, Stream.STEPS).spawn(1 + 2 * len(STEPS))
        for code in range(len(STEPS)):
            rows = np.flatnonzero((owner == k) & (step == code))
            if code == MAIN or not len(rows):
                continue
            content[rows] = rngs[2 * code].integers(0, MAX_CONTENT, size=len(rows))
            law = _law_of(c, STEPS[code])
            if law is not None:
                tokens[rows] = lengths.draw(law, len(rows), rngs[2 * code + 1])
    return tokens, content


def _law_of(c: TrafficClass, step: Step) -> lengths.CountLaw | None:
    """The law of a step's answers; None where there is none, or where it is as long as the main one."""
    match step:
        case Step.ROUTE:
            return None if c.router is None else c.router.output_tokens
        case Step.ARBITER:
            return None if c.fan_out is None or c.fan_out.arbiter is None else c.fan_out.arbiter.output_tokens
        case Step.EXPERT:
            return None if c.escalation is None else c.escalation.output_tokens
        case Step.CHECK:
            return c.output_tokens
        case Step.EMBED | Step.MAIN:
            return None
