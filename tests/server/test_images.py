"""Sizes of images are read from their headers."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from loadlab.server.errors import ApiError
from loadlab.server.images import HEADER_BYTES, ImageSize, image_size, image_size_of_url
from loadlab.simulator.files import load_cluster
from tests.cli.command import CLUSTERS
from tests.server.running import running


def picture(form: str, width: int, height: int, **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("form", "options"),
    [("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("GIF", {}), ("WEBP", {}), ("WEBP", {"lossless": True})],
)
def test_the_size_is_that_of_the_picture(form: str, options: dict[str, object]) -> None:
    assert image_size(picture(form, 301, 47, **options)[:HEADER_BYTES]) == ImageSize(width_px=301, height_px=47)


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xc0", b"RIFFxxxxWEBPVP8 ", b"BM" + bytes(60), b"\xff\xd8" + b"\xff" * 99]
)
def test_what_is_no_picture_has_no_size(data: bytes) -> None:
    assert image_size(data) is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://example.com/a.png", "not fetched"),
        ("file:///etc/passwd", "not fetched"),
        ("data:image/png,abc", "must be base64"),
        ("data:image/png;base64,@@@@", "cannot be decoded"),
        ("data:image/png;base64,aGVsbG8=", "none of PNG"),
    ],
)
def test_other_urls_are_refused_in_words(url: str, words: str) -> None:
    with pytest.raises(ApiError, match=words):
        image_size_of_url(url, "p")


def test_an_image_costs_its_vision_tokens() -> None:
    """280 x 140 pixels are 10 x 5 patches of 28."""
    url = f"data:image/png;base64,{base64.b64encode(picture('PNG', 280, 140)).decode()}"
    parts = [{"type": "text", "text": "what"}, {"type": "image_url", "image_url": {"url": url}}]
    with running(load_cluster(CLUSTERS / "t4-mixed.toml"), speed=50) as server:
        body = {"model": "vlm-7b", "messages": [{"role": "user", "content": parts}], "max_tokens": 2}
        assert server.post("/v1/chat/completions", body)[1]["usage"]["prompt_tokens"] == 1 + 50
        status, refused = server.post("/v1/chat/completions", body | {"model": "llm-14b"})
        assert (status, "takes no images" in refused["error"]["message"]) == (400, True)
