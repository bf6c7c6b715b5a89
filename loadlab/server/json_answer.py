"""JSON that fits a schema: made from it, keyword by keyword. What is not understood is refused in words, never ignored.

Understood: type, enum, const, properties, required, additionalProperties, items, prefixItems, minItems, maxItems, uniqueItems,
minLength, maxLength, format, minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf, anyOf, oneOf (as if any of them), allOf,
$ref within the schema. Words that only describe (title, description, default, examples, $schema, ...) say nothing.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

from loadlab.server.errors import ApiError, refused
from loadlab.wire.tokens import ESTIMATE

Schema = Mapping[str, Any]
MAX_DEPTH = 16
MAX_NODES = 2000
MAX_CHARS = 2**17  # of all texts
_VALUES = frozenset({
    "type", "enum", "const", "properties", "required", "additionalProperties", "items", "prefixItems", "minItems", "maxItems",
    "uniqueItems", "minLength", "maxLength", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
    "anyOf", "oneOf", "allOf", "$ref", "$defs", "definitions",
})  # fmt: skip
_WORDS = frozenset({
    "title", "description", "default", "examples", "example", "$schema", "$id", "$comment", "deprecated", "readOnly", "writeOnly",
    "strict", "nullable",
})  # fmt: skip
_UNDERSTOOD = _VALUES | _WORDS
_FORMATS = {
    "date": "2026-01-14",
    "time": "10:15:00Z",
    "date-time": "2026-01-14T10:15:00Z",
    "duration": "PT15M",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/a",
    "uuid": "7f3a1c52-0d5e-4b8a-9c6d-2e1f0a9b8c7d",
}
_TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")


def check_schema(schema: Any, param: str) -> None:
    """Raises ApiError (400), naming the keyword, if no answer could be made for the schema."""
    answer_to(schema, random.Random(0), param)  # noqa: S311  no secret


def answer_to(schema: Any, rng: random.Random, param: str = "schema") -> Any:
    """A value that fits; equal generators give equal values. Raises ApiError as `check_schema`."""
    maker = _Maker(schema, rng, param)
    try:
        return maker.value(schema, 0)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError):  # a keyword whose value is of a strange type
        raise maker.refuse("the schema is malformed", schema) from None


class _Maker:
    """Makes values for one schema."""

    def __init__(self, root: Any, rng: random.Random, param: str) -> None:
        self._root = root
        self._rng = rng
        self._param = param
        self._nodes = self._chars = 0

    def value(self, schema: Any, depth: int) -> Any:
        self._count(depth)
        if schema is True or schema == {}:
            return self._text({})
        self._check(schema)
        if "$ref" in schema:
            return self.value(self._merged(self._resolve(schema["$ref"]), _without(schema, "$ref")), depth + 1)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._rng.choice(self._list(schema, "enum"))
        if "allOf" in schema:
            merged = _without(schema, "allOf")
            for part in self._list(schema, "allOf"):
                merged = self._merged(merged, self._resolve(part["$ref"]) if "$ref" in part else part)
            return self.value(merged, depth + 1)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                rest = _without(schema, keyword)
                return self._any_of([self._merged(rest, option) for option in self._list(schema, keyword)], depth)
        return self._typed(schema, depth)

    def _count(self, depth: int, chars: int = 0) -> None:
        self._nodes += 1
        self._chars += chars
        if depth > MAX_DEPTH or self._nodes > MAX_NODES or self._chars > MAX_CHARS:
            raise self.refuse(f"the schema asks for more than {MAX_DEPTH} levels, {MAX_NODES} values or {MAX_CHARS} characters", "")

    def _check(self, schema: Any) -> None:
        if not isinstance(schema, Mapping):
            raise self.refuse("a schema must be an object", schema)
        for keyword in schema:
            if keyword not in _UNDERSTOOD:
                raise self.refuse(f"the keyword {str(keyword)[:80]!r} is not served; leave it out, or state it with others", keyword)

    def _any_of(self, options: list[Any], depth: int) -> Any:
        """The first option, or where the schema is deep already the last one for which there is a value: recursion ends somewhere."""
        error: ApiError | None = None
        for option in options if depth < MAX_DEPTH // 4 else reversed(options):
            try:
                return self.value(option, depth + 1)
            except ApiError as problem:
                error = problem
        assert error is not None
        raise error

    def _typed(self, schema: Mapping[str, Any], depth: int) -> Any:
        kind = schema.get("type") or ("object" if "properties" in schema else "array" if "items" in schema else "string")
        if isinstance(kind, list):
            kind = next((name for name in kind if name != "null"), "null")
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return self._text(schema)
            case "integer":
                return self._number(schema, whole=True)
            case "number":
                return self._number(schema, whole=False)
            case "boolean":
                return self._rng.random() < 0.5
            case "null":
                return None
            case _:
                raise self.refuse(f"type must be one of {', '.join(_TYPES)}", kind)

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        """Every property; deep inside only the required ones."""
        properties, required = schema.get("properties") or {}, schema.get("required") or []
        if not isinstance(properties, Mapping) or not isinstance(required, list):
            raise self.refuse("properties must be an object, required an array", schema)
        names = [name for name in properties if name in required or depth < MAX_DEPTH // 2]
        made = {name: self.value(properties[name], depth + 1) for name in names}
        others = schema.get("additionalProperties", True)
        for name in required:
            if name not in made:
                if others is False:
                    raise self.refuse("required names a property that is not allowed", name)
                made[name] = self.value(others, depth + 1)
        if not made and isinstance(others, Mapping):
            made["answer"] = self.value(others, depth + 1)
        return made

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        least, most = self._int(schema, "minItems", 0), self._int(schema, "maxItems", 2**20)
        first = [self.value(item, depth + 1) for item in (schema.get("prefixItems") or [])[:most]]
        item = schema.get("items", True)
        wanted = max(least, min(2, most)) if item is not False and depth < MAX_DEPTH // 2 else least
        unique, tries = bool(schema.get("uniqueItems")), 0
        while len(first) < wanted:
            value, tries = self.value(item, depth + 1), tries + 1
            if not unique or value not in first:
                first.append(value)
            elif tries > 20 * wanted:
                if len(first) >= least:
                    break
                raise self.refuse("uniqueItems asks for more different items than there are", least)
        if len(first) < least or len(first) > most:
            raise self.refuse("minItems, maxItems and prefixItems cannot all be met", least)
        return first

    def _text(self, schema: Mapping[str, Any]) -> str:
        least, most = self._int(schema, "minLength", 0), self._int(schema, "maxLength", 2**20)
        self._count(0, least)
        form = schema.get("format")
        if form is not None:
            text = _FORMATS.get(form)
            if text is None or not least <= len(text) <= most:
                raise self.refuse(f"format is one of {', '.join(_FORMATS)}, within the lengths allowed", form)
            return text
        if least > most:
            raise self.refuse("minLength exceeds maxLength", least)
        words = "".join([self._rng.choice(ESTIMATE.words) for _ in range(3 + least // 4)]).strip()
        return (words + " and so on"[: max(0, least - len(words))]).ljust(least, ".")[:most] if most else ""

    def _number(self, schema: Mapping[str, Any], *, whole: bool) -> float | int:
        step = schema.get("multipleOf", 1 if whole else None)
        low, high = self._bound(schema, "minimum", "exclusiveMinimum"), self._bound(schema, "maximum", "exclusiveMaximum")
        least = low[0] if low else (0 if high is None or high[0] > 0 else high[0] - 100)
        most = high[0] if high else least + 100
        if step is not None:
            if not isinstance(step, int | float) or step <= 0:
                raise self.refuse("multipleOf must be a number > 0", step)
            if whole and not float(step).is_integer():
                raise self.refuse("multipleOf of an integer must be whole", step)
            first = math.ceil(least / step) + (low is not None and low[1] and math.ceil(least / step) * step == least)
            last = math.floor(most / step) - (high is not None and high[1] and math.floor(most / step) * step == most)
            if first > last:
                raise self.refuse("no number lies between the bounds", schema)
            value = self._rng.randint(first, last) * step
            return int(value) if whole else value
        value = least + (most - least) * self._rng.choice((0.25, 0.5, 0.75))
        if not least <= value <= most or (least == most and ((low and low[1]) or (high and high[1]))):
            raise self.refuse("no number lies between the bounds", schema)
        return value

    def _bound(self, schema: Mapping[str, Any], inclusive: str, exclusive: str) -> tuple[float, bool] | None:
        """(the bound, whether it is excluded itself); None where there is none."""
        pick = max if inclusive == "minimum" else min
        found = []
        for name, is_out in ((inclusive, False), (exclusive, True)):
            if name in schema:
                value = schema[name]
                if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > 2**53:
                    raise self.refuse(f"{name} must be a number of at most 2^53", value)
                found.append((value, is_out))
        if not found:
            return None
        edge = pick(value for value, _ in found)
        return edge, any(is_out for value, is_out in found if value == edge)

    def _resolve(self, ref: Any) -> Any:
        if not isinstance(ref, str) or not ref.startswith("#"):
            raise self.refuse("$ref must point into the schema itself, such as #/$defs/Name", ref)
        node = self._root
        for name in ref[1:].split("/")[1:]:
            name = name.replace("~1", "/").replace("~0", "~")
            if not isinstance(node, Mapping) or name not in node:
                raise self.refuse("$ref points nowhere", ref)
            node = node[name]
        return node

    def _merged(self, one: Any, other: Any) -> dict[str, Any]:
        """Both at once: properties and required joined, of what else both say the stricter where that is plain."""
        if one is True or other is True:
            one, other = ({} if schema is True else schema for schema in (one, other))
        if not isinstance(one, Mapping) or not isinstance(other, Mapping):
            raise self.refuse("a schema must be an object", other)
        merged = dict(one)
        for key, value in other.items():
            if key not in merged or merged[key] == value or key in ("title", "description", "default"):
                merged[key] = value
            elif key in ("properties", "$defs", "definitions"):
                merged[key] = {**merged[key], **value}
            elif key == "required":
                merged[key] = [*merged[key], *value]
            elif key in ("minimum", "exclusiveMinimum", "minLength", "minItems"):
                merged[key] = max(merged[key], value)
            elif key in ("maximum", "exclusiveMaximum", "maxLength", "maxItems"):
                merged[key] = min(merged[key], value)
            else:
                raise self.refuse(f"{key} is said twice (allOf, anyOf or beside $ref), and not alike", value)
        return merged

    def _list(self, schema: Mapping[str, Any], keyword: str) -> list[Any]:
        value = schema[keyword]
        if not isinstance(value, list) or not value:
            raise self.refuse(f"{keyword} must be an array that is not empty", value)
        return value

    def _int(self, schema: Mapping[str, Any], keyword: str, default: int) -> int:
        value = schema.get(keyword, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0 or value > 2**20:
            raise self.refuse(f"{keyword} must be a whole number from 0 to {2**20}", value)
        return value

    def refuse(self, words: str, value: Any) -> ApiError:
        return refused(f"JSON schema: {words}.", self._param, str(value)[:80])


def _without(schema: Mapping[str, Any], keyword: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != keyword}
