"""The filter expressions of list requests, turned into a test of a resource's JSON.

Both dialects of the API: `labels.pool=a AND status!=RUNNING`, `(a=b) (c:*)`, and `name eq 'vm-.*'` with a regular
expression that must match the whole field. OR binds tighter than AND.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from infra.emulator.complaints import ApiError, Json

Test = Callable[[Json], bool]

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<paren>[()])
    | (?P<word>AND|OR|NOT)\b
    | (?P<minus>-(?=[\w(]))
    | (?P<field>[A-Za-z_][\w\-]*(?:\.(?:[\w\-]+|"[^"]*"))*)
      \s*(?P<operator>!=|<=|>=|=|<|>|:|\b(?:eq|ne)\b)\s*
    )""",
    re.VERBOSE,
)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'')
_MISSING = object()


class NotAFilter(Exception):
    """The expression cannot be understood."""


def parse(text: str) -> Test:
    """What the expression tests. Raises ApiError 400."""
    if not text.strip():
        return lambda _: True
    try:
        return _Parser(text).whole()
    except (NotAFilter, re.error) as error:
        raise ApiError(
            400,
            "invalid",
            f"Invalid value for field 'filter': '{text}'. Invalid list filter expression. {error}".rstrip(),
        ) from error


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def whole(self) -> Test:
        test = self._all()
        if self.text[self.at :].strip():
            raise NotAFilter(f"Unexpected '{self.text[self.at :].strip()}'.")
        return test

    def _all(self) -> Test:
        tests = [self._any()]
        while (token := self._peek()) is not None and token[0] not in (")",):
            if token[0] == "AND":
                self.at = token[1]
            tests.append(self._any())
        return tests[0] if len(tests) == 1 else lambda it: all(test(it) for test in tests)

    def _any(self) -> Test:
        tests = [self._one()]
        while (token := self._peek()) is not None and token[0] == "OR":
            self.at = token[1]
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda it: any(test(it) for test in tests)

    def _one(self) -> Test:
        found = _TOKEN.match(self.text, self.at)
        if found is None:
            raise NotAFilter(f"A comparison is missing at character {self.at}.")
        self.at = found.end()
        if found["word"] == "NOT" or found["minus"]:
            inner = self._one()
            return lambda it: not inner(it)
        if found["paren"] == "(":
            test = self._all()
            closing = self._peek()
            if closing is None or closing[0] != ")":
                raise NotAFilter("A parenthesis is not closed.")
            self.at = closing[1]
            return test
        if not found["field"]:
            raise NotAFilter(f"A comparison is missing at character {found.start()}.")
        return _comparison(found["field"], found["operator"], self._value())

    def _peek(self) -> tuple[str, int] | None:
        """The next parenthesis or word, where it ends; an empty string for the start of a comparison."""
        found = re.compile(r"\s*([()]|AND\b|OR\b)?").match(self.text, self.at)
        if found is None or (found[1] is None and not self.text[self.at :].strip()):
            return None
        return found[1] or "", found.end()

    def _value(self) -> str:
        quoted = _QUOTED.match(self.text, self.at)
        if quoted is not None:
            self.at = quoted.end()
            return re.sub(r"\\([\"'])", r"\1", quoted[1] if quoted[1] is not None else quoted[2])
        depth, start = 0, self.at
        while self.at < len(self.text):
            letter = self.text[self.at]
            depth += (letter == "(") - (letter == ")")
            if depth < 0 or letter.isspace():
                break
            self.at += 1
        if self.at == start or self.text[start] in "=<>!:":
            raise NotAFilter("A value is missing.")
        return self.text[start : self.at]


def _comparison(field: str, operator: str, value: str) -> Test:
    path = [part.strip('"') for part in re.findall(r'"[^"]*"|[^.]+', field)]
    if operator in ("eq", "ne"):
        pattern = re.compile(value)
        matches = lambda found: pattern.fullmatch(_text(found)) is not None  # noqa: E731
        return _wanted(path, matches, operator == "eq")
    if operator in ("=", "!="):
        return _wanted(path, lambda found: _equal(found, value), operator == "=")
    if operator == ":":
        return _wanted(path, lambda found: _has(found, value), True)
    return _wanted(path, lambda found: _ordered(found, operator, value), True)


def _wanted(path: list[str], holds: Callable[[Any], bool], wanted: bool) -> Test:
    """What is not there fulfils no comparison, and therefore every negated one."""
    return lambda it: any(holds(found) for found in _values(it, path)) is wanted


def _values(value: Any, path: list[str]) -> Iterator[Any]:
    """All values at that path; a list on the way means each of its members."""
    if isinstance(value, list) and path:
        for member in value:
            yield from _values(member, path)
    elif not path:
        yield value
    elif isinstance(value, dict) and (inner := value.get(path[0], _MISSING)) is not _MISSING:
        yield from _values(inner, path[1:])


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _equal(found: Any, value: str) -> bool:
    if isinstance(found, list):
        return any(_equal(member, value) for member in found)
    if isinstance(found, bool):
        return _text(found) == value.lower()
    if isinstance(found, int | float):
        return _number(value) == found
    if "*" in value:
        return re.fullmatch(re.escape(value).replace(r"\*", ".*"), _text(found)) is not None
    return _text(found) == value


def _has(found: Any, value: str) -> bool:
    if value == "*":
        return found not in ("", [], {})
    if isinstance(found, dict):
        return value in found
    if isinstance(found, list):
        return any(_has(member, value) for member in found)
    return value.lower().strip("*") in _text(found).lower()


def _ordered(found: Any, operator: str, value: str) -> bool:
    number = _number(value)
    own = _number(_text(found))
    left, right = (own, number) if own is not None and number is not None else (_text(found), value)
    compared = (left > right) - (left < right)  # type: ignore[operator]
    return {"<": compared < 0, "<=": compared <= 0, ">": compared > 0, ">=": compared >= 0}[operator]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
