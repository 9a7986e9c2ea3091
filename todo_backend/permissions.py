from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

if TYPE_CHECKING:
    # Importing it would be circular: `rest_framework.views` imports the default permissions.
    from rest_framework.views import APIView

# Characters of the user in the path that the answer repeats
MAX_SHOWN = 80
# Everything but the visible characters of ASCII, and the quote around the user
UNSAFE = re.compile("[^!-&(-~]")


class IsUserInPath(BasePermission):
    """Refuses a path that names another user than the token does.

    The answer names that user, because `/api/v1/tasks` is such a path, too.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        user_id = view.kwargs.get("user_id", request.user.pk)
        if user_id != request.user.pk:
            shown = UNSAFE.sub("?", user_id[:MAX_SHOWN])
            raise PermissionDenied(f"The user in the path is '{shown}', not the token's.")
        return True
