"""What the body of a request may be: its length, its media type and charset, its JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import IO, TYPE_CHECKING, Any

from django.conf import settings
from django.utils.http import parse_header_parameters
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

# Levels of arrays and objects. Python's own limit depends on its version and is between 1000 and 10 000.
MAX_DEPTH = 100
TOO_DEEP = "The body is nested too deeply."


def parse_int(digits: str) -> float:
    """A number of any length. `int()` refuses more than 4300 digits, which JSON allows."""
    return int(digits) if len(digits) < 4300 else float(digits)


def is_deeper_than(depth: int, value: Any) -> bool:
    """Whether arrays and objects have more than `depth` levels. A recursive function could not count very many."""
    level = [value]
    for _ in range(depth + 1):
        level = [item for item in level if isinstance(item, dict | list)]
        if not level:
            return False
        level = list(chain.from_iterable(item.values() if isinstance(item, dict) else item for item in level))
    return True


class StrictJSONParser(BaseParser):
    """Parses JSON (RFC 8259) in UTF-8 of at most `MAX_DEPTH` levels. Raises `ParseError` for anything else."""

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
        """The parser for the body's media type in UTF-8. Without one the answer is 415."""
        media_type, parameters = parse_header_parameters(request.content_type)
        if parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
            return None
        return next((parser for parser in parsers if parser.media_type == media_type), None)

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """The view's renderer, whatever the client accepts: an answer in JSON helps more than 406."""
        renderer = next(iter(renderers))
        return renderer, str(renderer.media_type)


class BodyFits(BasePermission):
    """Refuses a body before anything reads it, on every method.

    Raises `LengthRequired` for a body without `Content-Length`, because Django sees it as empty and a toggle would
    flip. Raises `ContentTooLarge` for more than `DATA_UPLOAD_MAX_MEMORY_SIZE` bytes, a limit that Django REST
    Framework's parsers do not know. It is a permission, because its answers come after 401 and 403.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        method = str(request.method).lower()
        if method not in view.http_method_names or not hasattr(view, method):
            return True  # The view answers with 405.
        length = request.META.get("CONTENT_LENGTH") or "0"
        # Django REST Framework would take a header spelt Content_Length for the length.
        if {"HTTP_TRANSFER_ENCODING", "HTTP_CONTENT_LENGTH"} & request.META.keys() or not length.isdecimal():
            raise LengthRequired
        if len(length) > 18 or int(length) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise ContentTooLarge
        return True
