"""What a JSON Schema can cost: how many subschemas it comes to, and how many meet one instance.

The validator itself is fast and remembers what it has seen of a recursive schema. Two things are not bounded by it:
a schema whose references double again and again (twenty lines, a million subschemas), and the list of everything that
is wrong, which for nested alternatives can be far longer than schema and instance together. Both are counted here
before they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from hookline.core import percent
from hookline.core.errors import Refusal
from hookline.core.json_text import cut, pointer

SUBSCHEMAS_MAX: Final = 20_000
PATTERNS_MAX: Final = 100
_MEETING_STEPS: Final = 500

_IN_PLACE: Final = ("not", "if", "then", "else")
_IN_PLACE_LISTS: Final = ("allOf", "anyOf", "oneOf")
_OF_MEMBERS: Final = ("additionalProperties", "unevaluatedProperties", "propertyNames")
_OF_ITEMS: Final = ("items", "unevaluatedItems", "contains")
_SINGLE: Final = (*_IN_PLACE, *_OF_MEMBERS, *_OF_ITEMS, "contentSchema")
_LISTS: Final = (*_IN_PLACE_LISTS, "prefixItems")
_DEFINITIONS: Final = ("$defs", "definitions")
_MAPS: Final = ("properties", "patternProperties", "dependentSchemas", *_DEFINITIONS)

Node = dict[str, Any]


class Cost:
    """A schema as a graph of subschemas. Raises `Refusal` (`invalid_schema`) where it has too many or is unclear."""

    def __init__(self, schema: Node) -> None:
        self._root = schema
        self._anchors: dict[str, Node] = {}
        self.alternatives = False
        """Whether it has `anyOf` or `oneOf`: what is wrong with each alternative is told together."""
        self._patterns = 0
        self._index(schema, "")
        self._weights: dict[int, int] = {}
        self._open: set[int] = set()
        try:
            self.weight = self._weigh(schema)
        except RecursionError:
            raise _refused("Its references are nested too deep.", "") from None
        if self.weight > SUBSCHEMAS_MAX:
            detail = f"With its references it comes to more than {SUBSCHEMAS_MAX} subschemas."
            raise _refused(detail, "")

    def _index(self, node: object, at: str) -> None:
        """Note the anchors; refuse what the validator could not be trusted with."""
        if not isinstance(node, dict):
            return
        for name in ("$anchor", "$dynamicAnchor"):
            if isinstance(node.get(name), str):
                self._anchors.setdefault(node[name], node)
        if at and "$id" in node:
            raise _refused("Only the whole schema has an $id: use $defs and $anchor within.", f"{at}/$id")
        self.alternatives |= "anyOf" in node or "oneOf" in node
        properties = node.get("patternProperties")
        self._patterns += ("pattern" in node) + (len(properties) if isinstance(properties, dict) else 0)
        if self._patterns > PATTERNS_MAX:
            raise _refused(f"A schema has at most {PATTERNS_MAX} patterns.", at)
        for keyword, child, place in _children(node):
            self._index(child, f"{at}/{keyword}{place}")

    def _weigh(self, node: object) -> int:
        """How many subschemas can be asked in all; a cycle counts once, because the validator remembers."""
        if not isinstance(node, dict):
            return 1
        key = id(node)
        if key in self._weights:
            return self._weights[key]
        if key in self._open:
            return 0
        self._open.add(key)
        asked = [child for keyword, child, _ in _children(node) if keyword not in _DEFINITIONS]
        weight = 1 + sum(self._weigh(child) for child in (*asked, *self._targets(node)))
        self._open.discard(key)
        self._weights[key] = weight
        return weight

    def _targets(self, node: Node) -> Iterator[Node]:
        for name in ("$ref", "$dynamicRef"):
            reference = node.get(name)
            if isinstance(reference, str):
                target = self._resolve(reference)
                if isinstance(target, dict):
                    yield target

    def _resolve(self, reference: str) -> object:
        base, _, fragment = reference.partition("#")
        if base and base != str(self._root.get("$id", "")).rstrip("#"):
            return None  # a meta-schema, which the validator knows, or nothing
        if not fragment.startswith("/"):
            return self._anchors.get(fragment) if fragment else self._root
        try:
            path = percent.decode(fragment[1:]).split("/")
        except ValueError:
            return None
        node: object = self._root
        for part in path:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict):
                node = node.get(name)
            elif isinstance(node, list) and name.isdecimal() and int(name) < len(node):
                node = node[int(name)]
            else:
                return None
        return node

    def exceeds(self, instance: object, steps_max: int) -> bool:
        """Whether telling all that is wrong with `instance` can take more than `steps_max` steps.

        A step is a keyword of a subschema that meets a value, times the values within it, which an error repeats;
        and 500 for each meeting.
        """
        walk = _Walk(self, steps_max)
        try:
            walk.meet(self._root, instance)
        except (_TooMany, RecursionError):
            return True
        return False

    def met(self, node: Node) -> Iterator[object]:
        """The subschemas that ask the same value as `node` does."""
        yield from self._targets(node)
        for keyword in _IN_PLACE:
            if keyword in node:
                yield node[keyword]
        for keyword in _IN_PLACE_LISTS:
            yield from _listed(node, keyword)
        yield from _mapped(node, "dependentSchemas").values()


class _TooMany(Exception):
    pass


class _Walk:
    def __init__(self, cost: Cost, steps: int) -> None:
        self._cost = cost
        self._steps = steps

    def meet(self, node: object, instance: object) -> int:
        """Count `node` and all below it on `instance`; how many values it holds."""
        size = _size(instance, self._steps)
        self._ask(node, instance, size)
        return size

    def _ask(self, node: object, instance: object, size: int) -> None:
        if not isinstance(node, dict):
            self._take(_MEETING_STEPS + size)
            return
        required = node.get("required")
        self._take(_MEETING_STEPS + size * (len(node) + (len(required) if isinstance(required, list) else 0)))
        for child in self._cost.met(node):
            self._ask(child, instance, size)
        if isinstance(instance, dict):
            self._ask_members(node, instance)
        elif isinstance(instance, list):
            self._ask_items(node, instance)

    def _ask_members(self, node: Node, instance: dict[str, object]) -> None:
        named = _mapped(node, "properties")
        for name, value in instance.items():
            if name in named:
                self.meet(named[name], value)
            for child in _mapped(node, "patternProperties").values():
                self.meet(child, value)
            for keyword in _OF_MEMBERS:
                if keyword in node and name not in named:
                    self.meet(node[keyword], value)

    def _ask_items(self, node: Node, instance: list[object]) -> None:
        first = list(_listed(node, "prefixItems"))
        for place, value in enumerate(instance):
            if place < len(first):
                self.meet(first[place], value)
            for keyword in _OF_ITEMS:
                if keyword in node and (place >= len(first) or keyword == "contains"):
                    self.meet(node[keyword], value)

    def _take(self, steps: int) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise _TooMany


def _size(instance: object, at_most: int) -> int:
    count, waiting = 0, [instance]
    while waiting and count <= at_most:
        value = waiting.pop()
        count += 1
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return count


def _children(node: Node) -> Iterator[tuple[str, object, str]]:
    for keyword in _SINGLE:
        if keyword in node:
            yield keyword, node[keyword], ""
    for keyword in _LISTS:
        for place, child in enumerate(_listed(node, keyword)):
            yield keyword, child, f"/{place}"
    for keyword in _MAPS:
        for name, child in _mapped(node, keyword).items():
            yield keyword, child, pointer(cut(name, 64))


def _listed(node: Node, keyword: str) -> list[object]:
    found = node.get(keyword)
    return found if isinstance(found, list) else []


def _mapped(node: Node, keyword: str) -> Mapping[str, object]:
    found = node.get(keyword)
    return found if isinstance(found, dict) else {}


def _refused(detail: str, at: str) -> Refusal:
    return Refusal("invalid_schema", detail, pointer=f"/schema{at}")
