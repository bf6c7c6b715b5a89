"""Separate random streams for separate concerns: one seed, one child of its SeedSequence per concern and traffic class."""

from __future__ import annotations

import hashlib
from enum import IntEnum

import numpy as np
from numpy.random import Generator, SeedSequence


class Stream(IntEnum):
    """What a stream decides. Numbers are part of every plan's digest: add new ones at the end, never renumber."""

    ARRIVALS = 0
    MIX = 1  # which arrival belongs to which class
    USERS_THINK = 2  # closed loop
    PROMPT = 3
    OUTPUT = 4
    TURNS = 5
    THINK = 6  # sessions
    IMAGE_COUNT = 7
    IMAGE_SIZE = 8
    IMAGE_CONTENT = 9
    TEXT = 10
    MODE = 11
    REPLAY = 12  # which rows of a trace, how far they are turned, where in their ticks
    STAGES = 13  # retrieval before a prompt, a tool's answer
    CHUNKS = 14  # which chunks are found
    CORPUS = 15  # what the chunks of a corpus are
    TOOLS = 16  # tokens of tool calls and of their results
    FAN_OUT = 17
    ESCALATION = 18
    STEPS = 19  # texts and answers of steps
    REUSE = 20  # which earlier prompts begin alike


def load_rng(seed: int, stream: Stream) -> Generator:
    """The generator of a concern that all classes share."""
    return np.random.default_rng(SeedSequence(seed, spawn_key=(stream,)))


def class_rng(seed: int, class_name: str, stream: Stream) -> Generator:
    """The generator of a concern of one class. It depends on the class's name only, so another class beside it changes nothing."""
    return np.random.default_rng(SeedSequence(seed, spawn_key=(*name_words(class_name), stream)))


def experiment_seed(seed: int, experiment_id: str) -> int:
    """The seed of one experiment of a campaign: 53 bits, so that every JSON reader keeps it. Does not depend on other experiments."""
    state = SeedSequence([seed, *name_words(experiment_id)]).generate_state(1, np.uint64)
    return int(state[0]) >> 11


def name_words(name: str) -> tuple[int, ...]:
    """The first 128 bits of the name's sha256 as four 32-bit words."""
    digest = hashlib.sha256(name.encode()).digest()
    return tuple(int.from_bytes(digest[i : i + 4], "big") for i in range(0, 16, 4))
