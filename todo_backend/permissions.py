from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from .exceptions import ContentTooLarge, LengthRequired

if TYPE_CHECKING:
    # Django REST Framework imports the default permissions while it defines its views.
    from rest_framework.views import APIView


class IsUserInPath(BasePermission):
    """Where a path names a user, it has to be the token's."""

    message = "The user in the path is not the token's."

    def has_permission(self, request: Request, view: APIView) -> bool:
        return bool(view.kwargs.get("user_id", request.user.pk) == request.user.pk)


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
