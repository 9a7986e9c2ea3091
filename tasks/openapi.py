"""The OpenAPI document of the operations on tasks. A test compares its examples with real answers."""

from typing import Any

from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiRequest,
    OpenApiResponse,
    extend_schema,
    extend_schema_view,
)

from .models import IDEMPOTENCY_KEY, MODEL_FIELDS, Task
from .serializers import StrictCharField, TaskListParameters, TaskSerializer, ToggleSerializer

# Patterns of the texts that a request may send. The second has a character that is no white space, neither for Python
# nor for ECMA-262, so that it means the same wherever it is read.
ANY_TEXT = r"^[^\x00]*$"
NOT_BLANK = r"^[^\x00]*[^\s\x00\x1c-\x1f\x85\ufeff][^\x00]*$"

CREATED = {
    **{name: MODEL_FIELDS[name].get_default() for name in Task.API_FIELDS},
    "id": 7,
    "user_id": "KOGJWRsyXPQEYxPzaZAekKcFJsiHcOx7",
    "title": "Buy milk",
    "created_at": "2026-02-07T09:30:00.123456Z",
    "updated_at": "2026-02-07T09:30:00.123456Z",
}
CHANGED = {**CREATED, "updated_at": "2026-02-07T09:31:00.654321Z"}
EVERYTHING = {"title": "Buy milk", "description": "Two bottles", "completed": True}
DESCRIBED = {**CHANGED, "description": "Two bottles"}
COMPLETED = {**CHANGED, "completed": True}

KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "pattern": f"^{IDEMPOTENCY_KEY}$"},
    OpenApiParameter.HEADER,
    description="However often it is sent, one task is made, and each answer has that task as it is now.",
)
LOCATION = OpenApiParameter(
    "Location",
    {"type": "string", "format": "uri-reference"},
    OpenApiParameter.HEADER,
    required=True,
    description="The task's path.",
    response=[201],
)


def examples(values: dict[str, Any]) -> list[OpenApiExample]:
    return [OpenApiExample(name, value) for name, value in values.items()]


def request(serializer: Any, /, **values: Any) -> OpenApiRequest:
    return OpenApiRequest(serializer, examples=examples(values))


def answer(description: str, /, **values: Any) -> OpenApiResponse:
    return OpenApiResponse(TaskSerializer, description, examples(values))


documented = extend_schema_view(
    list=extend_schema(
        operation_id="listTasks",
        summary="List tasks",
        description="All tasks of the user, or those that `status` asks for, newest first.",
        parameters=[TaskListParameters],
        responses={200: answer("The tasks, perhaps none.", tasks=CREATED)},
    ),
    create=extend_schema(
        operation_id="createTask",
        summary="Create a task",
        description="White space around the title is trimmed. The description is kept as it is sent. With an "
        "`Idempotency-Key`, such as `crypto.randomUUID()`, a create may be repeated.",
        parameters=[KEY, LOCATION],
        request=request(
            TaskSerializer,
            title={"title": "Buy milk"},
            everything=EVERYTHING,
        ),
        responses={201: answer("The task.", title=CREATED, everything={**CREATED, **EVERYTHING})},
    ),
    retrieve=extend_schema(
        operation_id="getTask",
        summary="Read a task",
        description="One task of the user.",
        responses={200: answer("The task.", task=CREATED)},
    ),
    update=extend_schema(
        operation_id="updateTask",
        summary="Change a task",
        description="Changes what is sent, as PATCH does; the rest stays. Nothing sent changes nothing.",
        request=request(TaskSerializer(partial=True), description={"description": "Two bottles"}),
        responses={200: answer("The task as it is now.", description=DESCRIBED)},
    ),
    partial_update=extend_schema(
        operation_id="patchTask",
        summary="Change a task",
        description="Changes what is sent; the rest stays. Nothing sent changes nothing.",
        request=request(TaskSerializer, description={"description": "Two bottles"}),
        responses={200: answer("The task as it is now.", description=DESCRIBED)},
    ),
    destroy=extend_schema(
        operation_id="deleteTask",
        summary="Delete a task",
        description="Deletes a task. Once more, it is 404.",
        responses={204: OpenApiResponse(description="It is gone.")},
    ),
    toggle=extend_schema(
        operation_id="toggleTask",
        summary="Complete a task, or reopen it",
        description="Without a body, or with `{}`, flips `completed`; with it, sets it, so that a retry does no harm.",
        request=request(ToggleSerializer, flip={}, set={"completed": True}),
        responses={200: answer("The task as it is now.", flip=COMPLETED, set=COMPLETED)},
    ),
)


def add_text_patterns(result: dict[str, Any], **kwargs: object) -> dict[str, Any]:
    """Adds its pattern to each text that a request may send (drf-spectacular's `POSTPROCESSING_HOOKS`)."""
    for name, field in TaskSerializer().fields.items():
        if isinstance(field, StrictCharField):
            for schema in ("TaskRequest", "PatchedTaskRequest"):
                properties = result["components"]["schemas"][schema]["properties"]
                properties[name]["pattern"] = ANY_TEXT if field.allow_blank else NOT_BLANK
    return result
