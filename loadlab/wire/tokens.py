"""How text is counted in tokens: one rule for the prompts we write, for the client that reads answers and for the bundled server.

Without a tokenizer four characters are a token. Text that we write is made of three-letter English words, each with a space before it,
which are one token each (measured: see docs/decisions): so the rule counts our own text exactly, and real servers agree with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHARS_PER_TOKEN = 4
BLOCK_TOKENS = 16  # of a prompt's text are one piece to a prefix cache: vLLM's default block size
BLOCK_CHARS = BLOCK_TOKENS * CHARS_PER_TOKEN
MASK_63 = np.uint64(2**63 - 1)

_WORDS = """
    ace act add age aid aim air all and any arc are arm art ash ask ate axe bag bar bat bay bed bee bet big bin bit bow box boy bud bug
    bus but buy cab can cap car cat cow cry cue cup cut day den did dig dim dip doc dog dot dry due duo ear eat egg end era eve eye fab
    fan far fed fee few fig fin fir fit fix flu fly fog for fox fun fur gap gem get got guy gym had has hat hay hen her hey hid him hip
    his hit hop hot how hub ice icy ink inn ion its jam jar jaw jet job jog joy jug key kid kit lab lad lag lap law lay led leg let lid
    lie lip lit log lot low man map mat max may men met mid mix mod mom mug nap net new nor not now nut oak odd off oil old one opt ore
    our out owe own pad pan par pat pay pen per pet pie pin pit ply pop pot pro pub put ram ran rap raw ray red rip rod row run sad sat
    saw say sea see set sew she shy sip sir sit six ski sky sub sum sun tab tag tan tap tar tax tea ten the tie tin tip ton too top toy
    try tub tug two use van vet via vow was wax way web wed wet who why wig win wit won yes yet you zip
"""


def estimate_tokens(text: str) -> int:
    """Tokens of a text by the estimate: its characters / 4, rounded up."""
    return -(-len(text) // CHARS_PER_TOKEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRule:
    """How to write text of a given number of tokens, and how to count tokens of a text that somebody else wrote.

    Every one of the 256 `words` begins with a space and is one token; texts joined by `joiner` have the sum of their tokens.
    """

    words: tuple[str, ...]
    count: Callable[[str], int]
    is_estimate: bool
    label: str  # for reports, such as "4 characters a token (estimate)"
    joiner: str = ""  # a space where the tokenizer puts one before a text itself, so that a text must not begin with one

    def write(self, seed: int, content: int, tokens: int) -> str:
        """The text of `tokens` tokens that `content` names: equal arguments give equal text, all else is unique.

        Eight random bits a token (SHAKE-128): two texts share a cache block of 16 tokens with a chance of 2^-128. Texts of a token or
        two are bound to be met again.
        """
        bits = hashlib.shake_128(b"%d/%d/%d" % (seed, content, tokens)).digest(tokens)
        words = self.words
        text = "".join([words[byte] for byte in bits])
        return text[1:] if self.joiner else text


ESTIMATE = TokenRule(
    words=tuple(f" {word}" for word in _WORDS.split()),
    count=estimate_tokens,
    is_estimate=True,
    label="4 characters a token (estimate)",
)

_MULTIPLIERS = np.frombuffer(hashlib.shake_128(b"block of text").digest(8 * BLOCK_CHARS), dtype="<u8") | np.uint64(1)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def text_pieces(texts: Iterable[str]) -> list[tuple[int, int]]:
    """A prompt as (content, tokens) pieces of 16 tokens, the last one of fewer: equal beginnings are equal pieces, all else differs.

    `texts` are the messages of a chat in order, or one text; each begins at a whole token, as the estimate counts it, so the tokens
    sum to those of the texts. `content` is 0 to 2^63 - 1 and depends on everything before it. Roles are no part of it.
    """
    padded = "".join([text + "\0" * (-len(text) % CHARS_PER_TOKEN) for text in texts])
    if not padded:
        return []
    full, rest = divmod(len(padded), BLOCK_CHARS)
    blocks = full + (rest > 0)
    codes = np.zeros(blocks * BLOCK_CHARS, dtype=np.uint32)
    codes[: len(padded)] = np.frombuffer(padded.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    own = (codes.reshape(blocks, BLOCK_CHARS) * _MULTIPLIERS).sum(axis=1, dtype=np.uint64)
    chained = np.cumsum(_mixed(own + _GOLDEN * np.arange(1, blocks + 1, dtype=np.uint64)), dtype=np.uint64)
    content = (_mixed(chained) & MASK_63).tolist()
    tokens = [BLOCK_TOKENS] * full + [rest // CHARS_PER_TOKEN] * (rest > 0)
    return list(zip(content, tokens, strict=True))


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): each bit of the input reaches each bit of the output."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
