from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

if TYPE_CHECKING:
    # Importing it would be circular: `rest_framework.views` imports the default permissions.
    from rest_framework.views import APIView


class IsUserInPath(BasePermission):
    """Refuses a path that names another user than the token does."""

    message = "The user in the path is not the token's."

    def has_permission(self, request: Request, view: APIView) -> bool:
        return bool(view.kwargs.get("user_id", request.user.pk) == request.user.pk)
