from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import IO, TYPE_CHECKING, Any

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.utils.json import strict_constant

from .exceptions import ContentTooLarge, LengthRequired

if TYPE_CHECKING:
    # Django REST Framework imports the default permissions while it defines its views.
    from rest_framework.views import APIView

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


class BodyFits(BasePermission):
    """Refuses, before the view reads it, a body that the server does not hand over or that is too large.

    Raises `LengthRequired` for a body sent in chunks: Django sees it as empty, and a toggle would flip. Raises
    `ContentTooLarge` beyond `DATA_UPLOAD_MAX_MEMORY_SIZE` bytes, which Django REST Framework's parsers do not observe.
    A permission, because these answers come after 401 and 403 and before anything is parsed, on every method.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        if request.method not in view.allowed_methods:
            return True  # 405 is the view's own answer
        length = request.META.get("CONTENT_LENGTH") or "0"
        # A header spelt Content_Length would pass for the length with Django REST Framework.
        if {"HTTP_TRANSFER_ENCODING", "HTTP_CONTENT_LENGTH"} & request.META.keys() or not length.isdecimal():
            raise LengthRequired
        if len(length) > 18 or int(length) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise ContentTooLarge
        return True
