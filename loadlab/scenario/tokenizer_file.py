"""A local Hugging Face `tokenizer.json` as a token rule: text that it encodes to exactly the planned number of tokens."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import TYPE_CHECKING

from loadlab.errors import InputError
from loadlab.schema import shown_path
from loadlab.wire.tokens import ESTIMATE, TokenRule

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE_NAME = "tokenizer.json"
MAX_FILE_BYTES = 256 * 2**20  # the largest in use, of 262,000 tokens, has 33 MB
MAX_CANDIDATES = 4096  # words tried, most frequent first
MIN_WORDS = 16  # fewer would make texts that are not unique
_WORD = re.compile("[Ġ▁]?([a-z]{2,8})")  # a token that is a word; byte-level BPE and SentencePiece mark the space before it


def load_tokenizer(path: Path) -> TokenRule:
    """The token rule of a `tokenizer.json`, or of a folder that holds one.

    Raises InputError if the `tokenizers` package is not installed, the file cannot be read, or no words are found whose tokens add up.
    """
    tokenizer = _read(path / FILE_NAME if path.is_dir() else path)
    for joiner in ("", " "):
        words = _words(tokenizer, joiner)
        if len(words) >= MIN_WORDS:
            return TokenRule(
                words=tuple(words[i % len(words)] for i in range(256)),
                count=lambda text: _count(tokenizer, text),
                is_estimate=False,
                label=f"tokenizer {path.name}",
                joiner=joiner,
            )
    raise InputError("has too few words that are one token each; leave it out, and prompts are estimated", source=shown_path(path))


def _read(file: Path) -> Tokenizer:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        problem = "needs the package tokenizers: pip install 'loadlab[tokenizer]', or leave it out and prompts are estimated"
        raise InputError(problem, key="--tokenizer") from None
    try:
        size_bytes = file.stat().st_size
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=shown_path(file)) from None
    if size_bytes > MAX_FILE_BYTES:
        raise InputError(f"is larger than {MAX_FILE_BYTES // 2**20} MiB; is this a {FILE_NAME}?", source=shown_path(file))
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the package raises plain Exception
        raise InputError(f"is not a Hugging Face {FILE_NAME}: {str(error)[:200]}", source=shown_path(file)) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _count(tokenizer: Tokenizer, text: str) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False).ids)


def _words(tokenizer: Tokenizer, joiner: str) -> list[str]:
    """Up to 256 words, each with a space before it, that are one token alone and in any order; ours first. Empty if orders disagree."""
    ids = {match[1]: number for token, number in tokenizer.get_vocab().items() if (match := _WORD.fullmatch(token))}
    known = [word.strip() for word in ESTIMATE.words]
    candidates = [*(word for word in known if word in ids), *sorted(ids.keys() - set(known), key=lambda word: ids[word])]
    first = 1 if joiner else 0
    words = [f" {word}" for word in candidates[:MAX_CANDIDATES] if _count(tokenizer, f" {word}"[first:]) == 1][:256]
    order = random.Random(0)  # noqa: S311 - a check, not a secret
    for _ in range(4):
        sample = order.choices(words, k=2000) if words else []
        if _count(tokenizer, "".join(sample)[first:]) != len(sample):
            return []
    return words
