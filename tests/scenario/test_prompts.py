from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from loadlab.errors import InputError
from loadlab.scenario import delays, lengths
from loadlab.scenario.arrivals import Constant
from loadlab.scenario.build import build_plan
from loadlab.scenario.load import OpenLoop
from loadlab.scenario.model import Images, Scenario, TrafficClass
from loadlab.scenario.plan import Image, RequestPlan
from loadlab.scenario.prompts import PromptWriter, check_images, png
from loadlab.scenario.sessions import Sessions
from loadlab.scenario.tokenizer_file import load_tokenizer
from loadlab.wire.tokens import BLOCK_TOKENS, estimate_tokens, text_pieces


def plan_of(requests: int = 20, seed: int = 1, **kwargs: object) -> RequestPlan:
    length = lengths.Uniform(min=5, max=300)
    traffic = TrafficClass(model="m", prompt_tokens=length, output_tokens=length, **kwargs)  # type: ignore[arg-type]
    load = OpenLoop(arrivals=Constant(rate_per_s=1), requests=requests)
    return build_plan(Scenario(name="s", load=load, classes={"c": traffic}), seed)


def sessions(**kwargs: int) -> Sessions:
    return Sessions(turns=lengths.Constant(value=4), think_s=delays.Constant(value_s=1), **kwargs)


def test_a_single_request_is_one_user_message_of_the_planned_tokens() -> None:
    plan = plan_of()
    writer = PromptWriter(plan)
    for request in plan.requests():
        ((role, text),) = writer.messages(request)
        assert role == "user"
        assert estimate_tokens(text) == request.prompt_tokens
        assert text == writer.text(request)


def test_equal_seeds_write_equal_texts_and_another_seed_writes_others() -> None:
    first, second, third = (PromptWriter(plan_of(seed=seed)) for seed in (1, 1, 2))
    assert all(first.text(r) == second.text(r) for r in plan_of().requests())
    assert not any(first.text(r) == third.text(r) for r in plan_of().requests())


def test_a_sessions_turns_alternate_and_each_begins_with_the_last_ones_messages() -> None:
    plan = plan_of(sessions=sessions(shared_prefix_tokens=64))
    writer = PromptWriter(plan)
    for request in plan.requests():
        messages = writer.messages(request)
        turn = request.turn or 0
        assert [role for role, _ in messages] == ["system", "user", *["assistant", "user"] * turn]
        assert sum(estimate_tokens(text) for _, text in messages) == request.prompt_tokens
        if turn:
            assert messages[: len(messages) - 2] == writer.messages(plan.request(request.seq - 1))
    systems = {writer.messages(request)[0] for request in plan.requests()}
    assert len(systems) == 1


def test_a_prefix_cache_finds_in_the_text_what_the_plan_shares_and_nothing_else() -> None:
    plan = plan_of(sessions=sessions(shared_prefix_tokens=70))
    writer = PromptWriter(plan)
    pieces = [text_pieces(text for _, text in writer.messages(request)) for request in plan.requests()]
    for request in plan.requests():
        shared = 70 // BLOCK_TOKENS
        if request.turn:
            shared = plan.request(request.seq - 1).prompt_tokens // BLOCK_TOKENS
        earlier = {piece for other in pieces[: request.seq] for piece in other}
        found = 0
        while found < len(pieces[request.seq]) and pieces[request.seq][found] in earlier:
            found += 1
        assert found == (shared if request.seq else 0)
        assert not earlier & set(pieces[request.seq][found:])


def test_without_a_prefix_there_is_no_system_message() -> None:
    plan = plan_of(sessions=sessions())
    assert {PromptWriter(plan).messages(request)[0][0] for request in plan.requests()} == {"user"}


def test_what_was_really_answered_takes_the_place_of_the_planned_answer() -> None:
    plan = plan_of(sessions=sessions())
    first, second = plan.request(0), plan.request(1)
    writer = PromptWriter(plan)
    planned, real = writer.messages(second), writer.messages(second, {first.output_content: "forty-two"})
    assert real == (planned[0], ("assistant", "forty-two"), planned[2])
    assert "forty-two" in writer.text(second, {first.output_content: "forty-two"})


def test_pieces_with_no_answer_between_them_are_one_message() -> None:
    plan = plan_of(sessions=sessions(shared_prefix_tokens=10))
    first = plan.request(0)
    own = first.segments[1]
    with_chunks = type(first)(**{name: getattr(first, name) for name in first.__slots__} | {"segments": (first.segments[0], own, own)})  # type: ignore[arg-type]
    messages = PromptWriter(plan).messages(with_chunks)
    assert [role for role, _ in messages] == ["system", "user"]
    assert estimate_tokens(messages[1][1]) == 2 * own.tokens


def test_images_have_their_size_and_are_unique_and_small() -> None:
    plan = plan_of(images=Images(count=lengths.Constant(value=2), sizes_px=((448, 448), (1023, 767))))
    writer = PromptWriter(plan)
    seen: set[bytes] = set()
    for request in plan.requests():
        for image, data in zip(request.images, writer.images(request), strict=True):
            with Pillow.open(io.BytesIO(data)) as picture:
                assert picture.format == "PNG"
                assert picture.size == (image.width_px, image.height_px)
            assert len(data) < image.width_px * image.height_px / 4
            seen.add(data)
    assert len(seen) == 40


def test_an_image_is_a_function_of_seed_and_content() -> None:
    image = Image(content=7, width_px=9, height_px=5)
    assert png(1, image) == png(1, image)
    assert png(1, image) != png(2, image)


def test_an_image_that_would_fill_the_memory_is_refused_before_the_run() -> None:
    plan = plan_of(images=Images(count=lengths.Constant(value=1), sizes_px=((65536, 65536),)))
    with pytest.raises(InputError, match="65,536 x 65,536"):
        check_images(plan)
    check_images(plan_of(images=Images(count=lengths.Constant(value=1), sizes_px=((4096, 4096),))))


# -- with a tokenizer file -----------------------------------------------------------------------------------------------------------


def byte_level(tmp_path: Path) -> Path:
    """A small byte-level BPE, trained here on our own documents: it marks the space before a word."""
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.train_from_iterator(_documents(), tokenizers.trainers.BpeTrainer(vocab_size=1500, show_progress=False))
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def metaspace(tmp_path: Path) -> Path:
    """One that puts a space before the text itself, as SentencePiece does."""
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.train_from_iterator(_documents(), tokenizers.trainers.BpeTrainer(vocab_size=1500, show_progress=False))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def word_piece(tmp_path: Path) -> Path:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    trainer = tokenizers.trainers.WordPieceTrainer(vocab_size=1500, show_progress=False, special_tokens=["[UNK]"])
    tokenizer.train_from_iterator(_documents(), trainer)
    tokenizer.enable_truncation(max_length=8)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def _documents() -> Iterator[str]:
    for path in sorted((Path(__file__).parents[2] / "docs").glob("*.md")):
        yield path.read_text(encoding="utf-8")


@pytest.mark.parametrize("make", [byte_level, metaspace, word_piece])
def test_text_for_a_tokenizer_encodes_to_exactly_the_planned_tokens(tmp_path: Path, make: object) -> None:
    import tokenizers

    path = make(tmp_path)  # type: ignore[operator]
    rule = load_tokenizer(path)
    truth = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    truth.no_truncation()
    plan = plan_of(sessions=sessions(shared_prefix_tokens=33))
    writer = PromptWriter(plan, rule)
    for request in plan.requests():
        counts = [len(truth.encode(text, add_special_tokens=False).ids) for _, text in writer.messages(request)]
        assert counts == [segment.tokens for segment in request.segments]
        assert len(truth.encode(writer.text(request), add_special_tokens=False).ids) == request.prompt_tokens
    assert not rule.is_estimate
    assert len({writer.text(request) for request in plan.requests()}) == len(plan)


def test_a_tokenizer_whose_words_do_not_add_up_is_refused_in_words(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={"a": 0, "b": 1}, merges=[]))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match="too few words"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(("name", "content", "says"), [("absent.json", None, "cannot be read"), ("x.json", "{}", "is not a Hugging Face")])
def test_a_bad_tokenizer_file_is_refused_by_name(tmp_path: Path, name: str, content: str | None, says: str) -> None:
    pytest.importorskip("tokenizers")
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=says) as error:
        load_tokenizer(tmp_path / name)
    assert name in str(error.value)


def test_the_planned_tokens_of_a_plan_are_written_whole() -> None:
    plan = plan_of(requests=200)
    writer = PromptWriter(plan)
    assert np.array_equal([estimate_tokens(writer.text(request)) for request in plan.requests()], plan.prompt_tokens)
