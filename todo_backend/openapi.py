from typing import Any


def without_user_paths(endpoints: list[Any], **kwargs: object) -> list[Any]:
    """Leaves out `/api/{user_id}/tasks…`, every operation's second address; the document's introduction has it."""
    return [endpoint for endpoint in endpoints if "{user_id}" not in endpoint[0]]
