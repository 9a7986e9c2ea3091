import json
from collections.abc import Mapping
from itertools import chain
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.utils.json import strict_constant

# Levels of arrays and objects. Python's own limit differs by version, from less than 1000 to almost 10 000.
MAX_DEPTH = 100
TOO_DEEP = "The body is nested too deeply."


def parse_int(digits: str) -> float:
    """A number of any length: CPython's `int` refuses more than 4300 digits, which are JSON all the same."""
    return int(digits) if len(digits) < 4300 else float(digits)


def is_deeper_than(depth: int, value: Any) -> bool:
    """Whether arrays and objects are nested deeper than that; in a loop, because it may be very deep."""
    level = [value]
    for _ in range(depth + 1):
        level = [item for item in level if isinstance(item, dict | list)]
        if not level:
            return False
        level = list(chain.from_iterable(item.values() if isinstance(item, dict) else item for item in level))
    return True


class StrictJSONParser(BaseParser):
    """RFC 8259 JSON in UTF-8, of at most `MAX_DEPTH` levels. Raises `ParseError` for anything else."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        body = stream.read()
        if parser_context and len(body) < int(parser_context["request"].META["CONTENT_LENGTH"]):
            raise ParseError("The body is incomplete.")
        try:
            value = json.loads(body.decode(), parse_int=parse_int, parse_constant=strict_constant)
        except UnicodeDecodeError as exc:
            raise ParseError("The body is not UTF-8.") from exc
        except json.JSONDecodeError as exc:
            raise ParseError(f"The body is not JSON: see line {exc.lineno}, column {exc.colno}.") from exc
        except ValueError as exc:
            raise ParseError("The body is not JSON: NaN and Infinity are not numbers.") from exc
        except RecursionError as exc:
            raise ParseError(TOO_DEEP) from exc
        if is_deeper_than(MAX_DEPTH, value):
            raise ParseError(TOO_DEEP)
        return value
