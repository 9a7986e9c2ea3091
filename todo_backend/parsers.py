"""What a body may be: UTF-8 JSON, named as such. What an answer is: JSON, whatever the client accepts."""

import json
from collections.abc import Iterable, Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.utils.json import strict_constant


def parse_int(digits: str) -> float:
    """A number of any length: CPython's `int` refuses more than 4300 digits, which are JSON all the same."""
    return int(digits) if len(digits) < 4300 else float(digits)


class StrictJSONParser(BaseParser):
    """RFC 8259 JSON in UTF-8. Raises `ParseError` for anything else and for nesting beyond Python's recursion limit."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        try:
            return json.loads(stream.read().decode(), parse_int=parse_int, parse_constant=strict_constant)
        except UnicodeDecodeError as exc:
            raise ParseError("The body is not UTF-8.") from exc
        except json.JSONDecodeError as exc:
            raise ParseError(f"The body is not JSON: {exc}.") from exc
        except ValueError as exc:
            raise ParseError("The body is not JSON: NaN and Infinity are not numbers.") from exc
        except RecursionError as exc:
            raise ParseError("The body is nested too deeply.") from exc


class JSONNegotiation(BaseContentNegotiation):
    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        """The parser for exactly the body's media type, in UTF-8; `None`, which is answered by 415, for any other."""
        if (request._request.content_params or {}).get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
            return None
        return next((parser for parser in parsers if parser.media_type == request._request.content_type), None)

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """The view's renderer; a client that accepts something else still gets an answer that it can log."""
        renderer = next(iter(renderers))
        return renderer, str(renderer.media_type)
