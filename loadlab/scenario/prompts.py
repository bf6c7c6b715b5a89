"""Planned requests become what is sent: messages, one text, or images, made from the plan's seed alone.

Equal content and length are equal text, whoever asks and whenever; all else is unique, so that no cache helps by accident.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from functools import cached_property

import numpy as np

from loadlab.errors import InputError
from loadlab.scenario.plan import Image, PlannedRequest, RequestPlan, Segment
from loadlab.wire.tokens import ESTIMATE, TokenRule

MAX_IMAGE_PIXELS = 64 * 2**20  # as large as any camera's; 65,536 pixels squared, which a plan may ask for, are 13 GB of memory
PIXELS_PER_CELL = 4  # a random grey of 4 x 4 pixels compresses to about half a bit a pixel, like a photograph
NO_ANSWERS: Mapping[int, str] = {}

Message = tuple[str, str]  # (role, text): system, user or assistant


class PromptWriter:
    """The texts and images of one plan. `tokenizer` None: the estimate of four characters a token."""

    def __init__(self, plan: RequestPlan, tokenizer: TokenRule | None = None) -> None:
        self._plan = plan
        self.rule = ESTIMATE if tokenizer is None else tokenizer

    def messages(self, request: PlannedRequest, answers: Mapping[int, str] = NO_ANSWERS) -> tuple[Message, ...]:
        """The chat of a request: system where a shared text comes first, then user and assistant in turn, the last by the user.

        Pieces of prompt that follow each other with no answer between them are one message (templates of some models refuse two in a
        row). `answers` maps `output_content` of earlier turns to the text that was received: it stands in place of the planned one.
        """
        pieces = [(self._is_answer(segment), segment) for segment in request.segments]
        leading = next((i for i, (is_answer, _) in enumerate(pieces) if is_answer), len(pieces))
        messages: list[tuple[str, list[str]]] = []
        for i, (is_answer, segment) in enumerate(pieces):
            text = answers.get(segment.content) if is_answer else None
            role = "assistant" if is_answer else "system" if i == 0 and leading > 1 else "user"
            if not messages or messages[-1][0] != role:
                messages.append((role, []))
            messages[-1][1].append(self._write(segment) if text is None else text)
        return tuple((role, self.rule.joiner.join(texts)) for role, texts in messages)

    def text(self, request: PlannedRequest, answers: Mapping[int, str] = NO_ANSWERS) -> str:
        """The whole prompt as one text, for completions and embeddings; `answers` as for `messages`."""
        return self.rule.joiner.join(answers.get(segment.content) or self._write(segment) for segment in request.segments)

    def images(self, request: PlannedRequest) -> tuple[bytes, ...]:
        """Each image of a request as PNG. Raises InputError above 64 Mpx: see `check_images`."""
        return tuple(png(self._plan.seed, image) for image in request.images)

    def _write(self, segment: Segment) -> str:
        return self.rule.write(self._plan.seed, segment.content, segment.tokens)

    def _is_answer(self, segment: Segment) -> bool:
        return segment.content in self._answers

    @cached_property
    def _answers(self) -> frozenset[int]:
        """Which pieces of prompts are answers of earlier requests, and so the assistant's."""
        if len(self._plan.segment_content) == len(self._plan):  # every prompt is one piece
            return frozenset()
        return frozenset(np.intersect1d(self._plan.output_content, self._plan.segment_content).tolist())


def check_images(plan: RequestPlan) -> None:
    """Raises InputError if an image of the plan is too large to be made and sent."""
    pixels = plan.image_width_px * plan.image_height_px
    if len(pixels) and pixels.max() > MAX_IMAGE_PIXELS:
        _refuse(int(plan.image_width_px[pixels.argmax()]), int(plan.image_height_px[pixels.argmax()]), plan.scenario_name)


def _refuse(width_px: int, height_px: int, source: str | None = None) -> None:
    problem = f"asks for {width_px:,} x {height_px:,} pixels, and an image that is sent has at most {MAX_IMAGE_PIXELS:,}"
    raise InputError(f"{problem}: ask for a smaller one, or simulate", source=source, key="images.sizes_px")


def png(seed: int, image: Image) -> bytes:
    """A grey PNG of the image's size in pixels, its cells drawn from seed and content."""
    from PIL import Image as Pillow  # only where a plan has images

    if image.width_px * image.height_px > MAX_IMAGE_PIXELS:
        _refuse(image.width_px, image.height_px)
    cells = [-(-side_px // PIXELS_PER_CELL) for side_px in (image.width_px, image.height_px)]
    greys = hashlib.shake_128(b"%d/%d" % (seed, image.content)).digest(cells[0] * cells[1])
    picture = Pillow.frombytes("L", (cells[0], cells[1]), greys).resize((image.width_px, image.height_px), Pillow.Resampling.NEAREST)
    file = io.BytesIO()
    picture.save(file, "png", compress_level=1)
    return file.getvalue()
