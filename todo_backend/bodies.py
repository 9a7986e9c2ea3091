"""The rules for the body of a request: its length, media type, charset and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from threading import Condition
from typing import IO, TYPE_CHECKING, Any

from django.conf import settings
from django.http import UnreadablePostError
from django.utils.http import parse_header_parameters
from rest_framework.exceptions import ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.utils.json import strict_constant

from . import waiting
from .exceptions import ContentTooLarge, LengthRequired, TooManyBodies

if TYPE_CHECKING:
    # Importing it would be circular: `rest_framework.views` imports the default permissions.
    from rest_framework.views import APIView

# Levels of arrays and objects. Python's own limit depends on its version, and is between 1000 and 10 000.
MAX_DEPTH = 100
TOO_DEEP = "The body is nested too deeply."
INCOMPLETE = "The body is incomplete."
# Seconds that a request waits for a slot. A body that has arrived is read in less, also while all threads are busy.
SLOT_TIMEOUT = 0.05


def parse_int(digits: str) -> float:
    """Parses a whole number of any length. JSON has no limit; `int()` refuses more than 4300 digits."""
    return int(digits) if len(digits) < 4300 else float(digits)


def is_deeper_than(depth: int, value: Any) -> bool:
    """Whether arrays and objects are nested in more than `depth` levels. Recursion would fail on deep nesting."""
    level = [value]
    for _ in range(depth + 1):
        level = [item for item in level if isinstance(item, dict | list)]
        if not level:
            return False
        level = list(chain.from_iterable(item.values() if isinstance(item, dict) else item for item in level))
    return True


class Slots:
    """Limits how many threads read bodies at once: three quarters of them, of which one user has at most a third.

    A thread waits for a client that sends its body slowly. The threads without a slot answer what needs no body.
    """

    def __init__(self, threads: int) -> None:
        self.total = max(1, threads * 3 // 4)
        self.per_user = max(1, self.total // 3)
        # The most threads that may read a body or wait for a slot. From eight threads on, at least one does neither.
        self.occupied_limit = threads - threads // 8
        self.users: list[str] = []
        self.waiters = 0
        self.changed = Condition()

    @contextmanager
    def slot(self, user_id: str) -> Iterator[None]:
        """Holds a slot while the context lasts. Raises `TooManyBodies` if none is free within `SLOT_TIMEOUT`."""
        with self.changed:
            if not (self.take(user_id) or self.wait(user_id)):
                raise TooManyBodies(
                    f"{self.users.count(user_id)} bodies of this user are being read, of at most {self.per_user}, "
                    f"and {len(self.users)} in all, of at most {self.total}, fewer while others wait for keys"
                )
        try:
            yield
        finally:
            waiting.slots.release()
            with self.changed:
                self.users.remove(user_id)
                self.changed.notify_all()

    def take(self, user_id: str) -> bool:
        """Takes a slot for the user, and returns whether there was one."""
        is_free = len(self.users) < self.total and self.users.count(user_id) < self.per_user
        if taken := is_free and waiting.slots.acquire(blocking=False):
            self.users.append(user_id)
        return taken

    def wait(self, user_id: str) -> bool:
        """Takes a slot that becomes free in time. Does not wait if too many threads are occupied already."""
        if len(self.users) + self.waiters >= self.occupied_limit:
            return False
        self.waiters += 1
        try:
            return self.changed.wait_for(lambda: self.take(user_id), SLOT_TIMEOUT)
        finally:
            self.waiters -= 1


slots = Slots(settings.SERVER.threads)


class StrictJSONParser(BaseParser):
    """Parses JSON (RFC 8259) in UTF-8 of at most `MAX_DEPTH` levels. Raises `ParseError` for anything else."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        request: Any = (parser_context or {})["request"]
        try:
            with slots.slot(request.user.pk):
                body = stream.read()
        except UnreadablePostError as exc:
            raise ParseError(INCOMPLETE) from exc
        if len(body) < int(request.META["CONTENT_LENGTH"]):
            raise ParseError(INCOMPLETE)
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
        """The parser for the body's media type. `None`, also for another charset than UTF-8, is answered with 415."""
        media_type, parameters = parse_header_parameters(request.content_type)
        if parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
            return None
        return next((parser for parser in parsers if parser.media_type == media_type), None)

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """The view's renderer, whatever the client accepts. An answer in JSON is of more use than 406."""
        renderer = next(iter(renderers))
        return renderer, str(renderer.media_type)


class BodyLengthAllowed(BasePermission):
    """Checks the length of a body before the body is read, on every method.

    Raises `LengthRequired` for a body without `Content-Length`: Django would read it as empty, and a toggle would flip.
    Raises `ContentTooLarge` for more than `DATA_UPLOAD_MAX_MEMORY_SIZE` bytes, which Django REST Framework's parsers do
    not check. It is a permission, so that 401 and 403 come first.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        method = str(request.method).lower()
        if method not in view.http_method_names or not hasattr(view, method):
            return True  # The view answers with 405.
        length = request.META.get("CONTENT_LENGTH") or "0"
        # WSGI turns a header `Content_Length` into HTTP_CONTENT_LENGTH, which Django REST Framework would use.
        if {"HTTP_TRANSFER_ENCODING", "HTTP_CONTENT_LENGTH"} & request.META.keys() or not length.isdecimal():
            raise LengthRequired
        if len(length) > 18 or int(length) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise ContentTooLarge
        return True
