"""Prompts as the simulator wants them: how many tokens, and which beginnings two prompts share.

Texts are cut into blocks by the common rule. An answer in a later prompt is one piece, because it is one piece where it was
generated: so the next turn of a chat finds the KV of the whole turn before it. An image is one piece too.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from loadlab.server.errors import ApiError, refused
from loadlab.server.images import ImageSize, image_size_of_url
from loadlab.simulator.kv_cache import Piece
from loadlab.wire.tokens import BLOCK_TOKENS, estimate_tokens, text_pieces

ImageTokens = Callable[[ImageSize], int]  # of one image; raises ApiError where the model takes none
_MASK = 2**62 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt. `pieces` cover all of its tokens."""

    tokens: int  # image tokens included
    image_tokens: int
    pieces: tuple[Piece, ...]
    text: str  # what a person wrote, for filters and records


def answer_piece(text: str) -> Piece:
    """An answer, as the request that generated it and the prompts that carry it call it."""
    return _digest(b"answer", text.encode("utf-8", "surrogatepass")), estimate_tokens(text)


def text_prompt(text: str) -> Prompt:
    """A completion's prompt, or what is embedded. An empty text is one token, as a begin-of-text token is."""
    pieces = tuple(text_pieces([text])) or ((0, 1),)
    return Prompt(tokens=sum([tokens for _, tokens in pieces]), image_tokens=0, pieces=pieces, text=text)


def ids_prompt(ids: list[int]) -> Prompt:
    """A prompt given as token ids: blocks of as many ids as text has tokens; the text is not known."""
    pieces, chain = [], b""
    for start in range(0, len(ids), BLOCK_TOKENS):
        block = ids[start : start + BLOCK_TOKENS]
        chain = hashlib.blake2b(chain + struct.pack(f"<{len(block)}q", *block), digest_size=8).digest()
        pieces.append((int.from_bytes(chain, "little") & _MASK, len(block)))
    return Prompt(tokens=len(ids), image_tokens=0, pieces=tuple(pieces), text="")


def chat_prompt(messages: list[dict[str, Any]], tools: list[dict[str, Any]], image_tokens: ImageTokens) -> Prompt:
    """A conversation, behind the description of its tools. Raises ApiError on content that is not understood."""
    if not messages:
        raise ApiError(400, "Cannot apply chat template to an empty conversation. Provide at least one message.")
    builder = _Builder(image_tokens)
    if tools:
        builder.add_text(orjson.dumps(tools).decode())
    for i, message in enumerate(messages):
        if message["role"] == "assistant":
            builder.add_answer(_answer_text(message))
        else:
            builder.add_content(message.get("content"), f"messages.{i}.content")
    return builder.build()


def _answer_text(message: dict[str, Any]) -> str:
    """What an assistant said: its content, then the calls that it made (answers.Part: name, arguments)."""
    content = message.get("content")
    texts = [content] if isinstance(content, str) else [str(part.get("text", "")) for part in content or ()]
    for call in message.get("tool_calls") or ():
        function = call.get("function")
        if isinstance(function, dict):
            texts += [str(function.get("name", "")), str(function.get("arguments", ""))]
    return "".join(texts)


class _Builder:
    """Collects texts until something comes that is a piece of its own."""

    def __init__(self, image_tokens: ImageTokens) -> None:
        self._image_tokens_of = image_tokens
        self._texts: list[str] = []
        self._said: list[str] = []
        self._pieces: list[Piece] = []
        self._image_tokens = 0

    def add_text(self, text: str) -> None:
        if text:
            self._texts.append(text)
            self._said.append(text)

    def add_answer(self, text: str) -> None:
        if text:
            self._close_texts()
            self._pieces.append(answer_piece(text))
            self._said.append(text)

    def add_content(self, content: str | list[dict[str, Any]] | None, place: str) -> None:
        if content is None or isinstance(content, str):
            self.add_text(content or "")
            return
        for i, part in enumerate(content):
            match part["type"]:
                case "text" | "input_text":
                    self.add_text(str(part.get("text", "")))
                case "image_url" | "input_image":
                    self._add_image(part.get("image_url"), f"{place}.{i}.image_url")
                case other:
                    raise refused(
                        "content parts are text or image_url; audio, video and files are not served.", f"{place}.{i}.type", other[:80]
                    )

    def _add_image(self, image: Any, place: str) -> None:
        url = image.get("url") if isinstance(image, dict) else image
        if not isinstance(url, str):
            raise ApiError(400, "an image needs its url.", param=place)
        tokens = self._image_tokens_of(image_size_of_url(url, place))
        self._close_texts()
        self._pieces.append((_digest(b"image", url.encode("utf-8", "surrogatepass")), tokens))
        self._image_tokens += tokens

    def _close_texts(self) -> None:
        self._pieces += text_pieces(self._texts)
        self._texts = []

    def build(self) -> Prompt:
        self._close_texts()
        pieces = tuple(self._pieces) or ((0, 1),)
        return Prompt(tokens=_sum(pieces), image_tokens=self._image_tokens, pieces=pieces, text="\n".join(self._said))


def _sum(pieces: Iterable[Piece]) -> int:
    return sum([tokens for _, tokens in pieces])


def _digest(kind: bytes, content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8, person=kind).digest(), "little") & _MASK
