"""A scenario and a seed become a plan, complete before the first request is sent. Pure: reads no file and no clock.

Order of rows: by arrival; the turns of a session follow their arrival directly. Equal scenario and seed give equal columns, and
every concern has its own random stream (`streams`), so that a new length law leaves arrival times, images and texts alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import numpy as np

from loadlab.errors import InputError
from loadlab.scenario import timeline
from loadlab.scenario.content import build_pictures, build_prompts
from loadlab.scenario.labels import by_class, labels, labels_of_classes, labels_of_steps
from loadlab.scenario.load import ClosedLoop, OpenLoop, Replay
from loadlab.scenario.model import Scenario
from loadlab.scenario.modes import deal_modes
from loadlab.scenario.plan import NOTHING, FloatArray, IntArray, Labels, RequestPlan
from loadlab.scenario.replay import reshaped
from loadlab.scenario.span import check_span
from loadlab.scenario.step_content import pictures_of_steps, prompts_of_steps
from loadlab.scenario.steps import CHECK, MAIN, has_steps, in_order_of_due_times, lay_out
from loadlab.scenario.timeline import NamedClass, Timeline, same
from loadlab.scenario.traces import TraceColumns


def build_plan(scenario: Scenario, seed: int, trace: TraceColumns | None = None) -> RequestPlan:
    """The plan of a scenario. `trace` holds the rows of its trace file where the load is a replay (`files.trace_of` loads them).

    Raises InputError on a negative seed, a replay without rows, an open loop whose duration holds no arrival, and on a plan larger
    or longer than `limits` allow.
    """
    if seed < 0:
        raise InputError(f"= {seed} must be >= 0", key="--seed")
    try:
        return _build(scenario, seed, trace)
    except InputError as error:
        raise InputError(error.problem, source=error.source or scenario.name, key=error.key) from None


def _build(scenario: Scenario, seed: int, trace: TraceColumns | None) -> RequestPlan:
    if trace is not None and isinstance(scenario.load, Replay):
        trace = reshaped(trace, scenario.load, seed)
    classes = sorted(scenario.classes.items())  # by name: the order in the file means nothing
    lines = _timeline(scenario, classes, seed, trace)
    if len(lines.chain) == 0:
        raise InputError("has no arrival before its end; raise load.duration_s or the rate")
    return _columns(scenario, in_order_of_due_times(lines, classes), classes, seed, trace)


def _columns(scenario: Scenario, lines: Timeline, classes: Sequence[NamedClass], seed: int, trace: TraceColumns | None) -> RequestPlan:
    """The plan of main requests in their order: their texts, and the steps around them."""
    has_modes = any(c.modes is not None for _, c in classes)
    mode = deal_modes(lines.owner, classes, seed) if has_modes else labels([c.mode for _, c in classes], lines.owner)
    prompts = build_prompts(lines, classes, mode, seed, trace)
    pictures = build_pictures(lines, classes, seed)
    layout = None
    if has_steps(classes) or lines.stages_s.any():
        layout = lay_out(lines, classes, seed)
        prompts, pictures = prompts_of_steps(prompts, layout, classes, seed), pictures_of_steps(pictures, layout)
        mode = Labels(names=mode.names, codes=np.where(np.isin(layout.step, (MAIN, CHECK)), mode.codes[layout.main], NOTHING))
        lines = layout.timeline
    n = len(lines.chain)
    timeouts_s = _timeouts_s(scenario, classes, lines.owner)
    check_span(lines, timeouts_s, scenario.load, classes)
    in_session = by_class([c.turns is not None or len(c.steps) > 1 for _, c in classes], lines.owner)
    has_turns = by_class([c.turns is not None for _, c in classes], lines.owner) * (1 if layout is None else layout.step == MAIN)
    names = labels_of_classes(lines.owner, classes) if layout is None else labels_of_steps(layout, classes)
    return RequestPlan(
        scenario_name=scenario.name,
        seed=seed,
        chain=lines.chain,
        after_seq=lines.after_seq,
        after_count=np.asarray(lines.after_seq != NOTHING, dtype=np.int64) if layout is None else layout.after_count,
        delay_after_s=lines.delay_after_s,
        arrival_s=lines.arrival_s,
        stages_s=lines.stages_s,
        traffic_class=names.traffic_class,
        kind=names.kind,
        model=names.model,
        tier=names.tier,
        region=names.region,
        mode=mode,
        session=np.where(in_session, lines.chain, NOTHING) if in_session.any() else same(NOTHING, n),
        turn=np.where(has_turns, lines.turn, NOTHING) if has_turns.any() else same(NOTHING, n),
        timeout_s=timeouts_s,
        prompt_tokens=prompts.prompt_tokens,
        output_tokens=prompts.output_tokens,
        output_content=prompts.output_content,
        segment_offsets=prompts.segment_offsets,
        segment_content=prompts.segment_content,
        segment_tokens=prompts.segment_tokens,
        image_offsets=pictures.image_offsets,
        image_content=pictures.image_content,
        image_width_px=pictures.image_width_px,
        image_height_px=pictures.image_height_px,
    )


def _timeline(scenario: Scenario, classes: Sequence[NamedClass], seed: int, trace: TraceColumns | None) -> Timeline:
    match scenario.load:
        case OpenLoop() as load:
            return timeline.open_loop(load, classes, seed)
        case ClosedLoop() as load:
            return timeline.closed_loop(load, classes, seed)
        case Replay():
            if trace is None:
                raise InputError("replays a trace, but none is given; name it with --trace FILE")
            return timeline.replay(trace.arrival_s, classes, seed)
        case _:
            assert_never(scenario.load)


def _timeouts_s(scenario: Scenario, classes: Sequence[NamedClass], owner: IntArray) -> FloatArray:
    own = [scenario.timeout_s if c.timeout_s is None else c.timeout_s for _, c in classes]
    timeouts_s = np.array([np.nan if timeout_s is None else timeout_s for timeout_s in own])
    return np.broadcast_to(timeouts_s[0], len(owner)) if len(classes) == 1 else timeouts_s[owner]
