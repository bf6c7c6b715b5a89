"""Modes of requests, such as fast and deliberative: dealt out exactly by share, each with its own law of answer lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from loadlab.scenario.lengths import MAX_COUNT
from loadlab.scenario.model import Mode
from loadlab.scenario.plan import NOTHING, IntArray, Labels
from loadlab.scenario.streams import Stream, class_rng
from loadlab.scenario.timeline import NamedClass, apportion


def deal_modes(owner: IntArray, classes: Sequence[NamedClass], seed: int) -> Labels:
    """The mode of each request: the class's label, or one of its modes. `owner`: index of class.

    Counts are exact within a class (largest remainder), the order is random, from a stream that nothing else uses.
    """
    names = tuple(sorted({name for _, c in classes for name in (c.modes or ([] if c.mode is None else [c.mode]))}))
    codes = np.full(len(owner), NOTHING, dtype=np.int64)
    for k, (class_name, traffic_class) in enumerate(classes):
        rows = np.flatnonzero(owner == k)
        if traffic_class.modes is None:
            codes[rows] = NOTHING if traffic_class.mode is None else names.index(traffic_class.mode)
            continue
        modes = sorted(traffic_class.modes)  # by name: the order in the file means nothing
        counts = apportion(len(rows), [traffic_class.modes[name].share for name in modes])
        dealt = np.repeat([names.index(name) for name in modes], counts)
        codes[rows] = class_rng(seed, class_name, Stream.MODE).permutation(dealt)
    return Labels(names=names, codes=codes)


def mode_lengths(modes: Mapping[str, Mode], labels: Labels, codes: IntArray, base_tokens: IntArray, least: int) -> IntArray:
    """Tokens of answers whose modes are `codes` into `labels`: int64, from `least` to MAX_COUNT.

    round(output_factor * base) + extra_output_tokens; a half is rounded to the even neighbour.
    """
    by_code = [modes.get(name, Mode(share=0)) for name in labels.names]
    factors, extras = np.array([m.output_factor for m in by_code]), np.array([m.extra_output_tokens for m in by_code])
    tokens: IntArray = np.rint(factors[codes] * base_tokens).astype(np.int64) + extras[codes]
    return np.clip(tokens, least, MAX_COUNT)
