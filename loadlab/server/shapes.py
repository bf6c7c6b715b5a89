"""JSON bodies against their shape: the subset of JSON Schema that our requests are written in, with pydantic's words for what is wrong.

The shapes are also what /openapi.json publishes, so what is documented is what is checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loadlab.server.errors import ApiError, refused

Shape = Mapping[str, Any]
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "array": (list,), "object": (dict,),
    "null": (type(None),),
}  # fmt: skip
_WORDS = {
    "string": ("string_type", "Input should be a valid string"),
    "integer": ("int_type", "Input should be a valid integer"),
    "number": ("float_type", "Input should be a valid number"),
    "boolean": ("bool_type", "Input should be a valid boolean"),
    "array": ("list_type", "Input should be a valid list"),
    "object": ("dict_type", "Input should be a valid dictionary"),
}
MAX_SHOWN = 80


def check(value: Any, shape: Shape, place: str = "body") -> None:
    """Raises ApiError (400), in vLLM's shape, at the first thing in `value` that the shape does not allow."""
    options = shape.get("anyOf")
    if options is not None:
        _check_options(value, options, place)
        return
    kinds = shape.get("type")
    if kinds is not None:
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if not any(_is(value, kind) for kind in kinds):
            raise invalid(*_WORDS[kinds[0]], place, value)
    if "enum" in shape and value not in shape["enum"]:
        raise invalid("literal_error", f"Input should be {' or '.join(map(repr, shape['enum']))}", place, value)
    match value:
        case dict():
            _check_object(value, shape, place)
        case list():
            _check_array(value, shape, place)
        case str():
            if len(value) < shape.get("minLength", 0):
                raise invalid("string_too_short", f"String should have at least {shape['minLength']} character", place, value)
        case bool() | None:
            pass
        case int() | float():
            _check_number(value, shape, place)


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool) and kind != "boolean":
        return False
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()  # JSON Schema: 1.0 is an integer
    return isinstance(value, _TYPES[kind])


def _check_options(value: Any, options: Sequence[Shape], place: str) -> None:
    """Fits one of them; the words are those of the last that has its type."""
    problem: ApiError | None = None
    for option in options:
        try:
            check(value, option, place)
        except ApiError as error:
            kinds = option.get("type", ())
            if problem is None or any(_is(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
                problem = error
        else:
            return
    assert problem is not None
    raise problem


def _check_object(value: dict[str, Any], shape: Shape, place: str) -> None:
    for name in shape.get("required", ()):
        if name not in value:
            raise invalid("missing", "Field required", f"{place}.{name}", value)
    properties = shape.get("properties", {})
    for name in value.keys() & properties.keys():
        check(value[name], properties[name], f"{place}.{name}")


def _check_array(value: list[Any], shape: Shape, place: str) -> None:
    least, most = shape.get("minItems", 0), shape.get("maxItems")
    if len(value) < least:
        raise invalid("too_short", f"List should have at least {least} item after validation, not {len(value)}", place, value)
    if most is not None and len(value) > most:
        raise invalid("too_long", f"List should have at most {most} items after validation, not {len(value)}", place, value)
    item = shape.get("items")
    if item is None or (item.get("type") == "integer" and _are_plain_ids(value, item)):
        return
    for i, element in enumerate(value):
        check(element, item, f"{place}.{i}")


def _are_plain_ids(value: list[Any], item: Shape) -> bool:
    """The quick way for prompts of many thousand token ids."""
    return set(map(type, value)) <= {int} and (not value or (min(value) >= item.get("minimum", 0) and max(value) <= item["maximum"]))


def _check_number(value: float, shape: Shape, place: str) -> None:
    name = place.removeprefix("body.")
    low, high = shape.get("minimum"), shape.get("maximum")
    if low is not None and value < low:
        raise refused(f"{name} must be at least {low}, got {value}.", name, value)
    if high is not None and value > high:
        raise refused(f"{name} must be at most {high}, got {value}.", name, value)


def invalid(kind: str, words: str, place: str, value: Any) -> ApiError:
    """pydantic's error as vLLM prints it."""
    shown = f"<{type(value).__name__} of {len(value)} items>" if isinstance(value, dict | list) else str(value)[:MAX_SHOWN]
    message = f"1 validation error:\n  {{'type': {kind!r}, 'loc': {place!r}, 'msg': {words!r}, 'input': {shown!r}}}"
    return ApiError(400, message, kind="Bad Request", param=place)
