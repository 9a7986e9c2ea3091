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

from .models import IDEMPOTENCY_KEY_PATTERN, MODEL_FIELDS, Task
from .serializers import StrictCharField, TaskListParameters, TaskSerializer, ToggleSerializer

# Patterns for the texts in a request. NOT_BLANK requires one character that is not white space, neither for Python nor
# for ECMA-262, whose `\s` includes U+FEFF. A pattern must not have a `\u`, which generators of clients write as the
# character itself: a line separator would end the line of a regular expression.
ANY_TEXT = r"^[^\x00]*$"
NOT_BLANK = r"^[^\x00]*[^\s\x00\x1c-\x1f\x85][^\x00]*$"

# Names that a frontend wants to import, by those that drf-spectacular derives from the serializers.
REQUEST_NAMES = {"TaskRequest": "TaskCreate", "PatchedTaskRequest": "TaskUpdate", "PatchedToggleRequest": "Completion"}

CREATED_EXAMPLE = {
    **{name: MODEL_FIELDS[name].get_default() for name in Task.API_FIELDS},
    "id": 7,
    "user_id": "KOGJWRsyXPQEYxPzaZAekKcFJsiHcOx7",
    "title": "Buy milk",
    "created_at": "2026-02-07T09:30:00.123456Z",
    "updated_at": "2026-02-07T09:30:00.123456Z",
}
CHANGED_EXAMPLE = {**CREATED_EXAMPLE, "updated_at": "2026-02-07T09:31:00.654321Z"}
EVERYTHING_EXAMPLE = {"title": "Buy milk", "description": "Two bottles", "completed": True}
DESCRIBED_EXAMPLE = {**CHANGED_EXAMPLE, "description": "Two bottles"}
COMPLETED_EXAMPLE = {**CHANGED_EXAMPLE, "completed": True}

IDEMPOTENCY_KEY_HEADER = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "pattern": f"^{IDEMPOTENCY_KEY_PATTERN}$"},
    OpenApiParameter.HEADER,
    description="A repeated request with the same key creates no second task. Each answer has the task as it is now.",
)
LOCATION_HEADER = OpenApiParameter(
    "Location",
    {"type": "string", "format": "uri-reference"},
    OpenApiParameter.HEADER,
    required=True,
    description="The task's path.",
    response=[201],
)


def examples(values: dict[str, Any]) -> list[OpenApiExample]:
    return [OpenApiExample(name, value) for name, value in values.items()]


def task_request(serializer: Any, /, **values: Any) -> OpenApiRequest:
    return OpenApiRequest(serializer, examples=examples(values))


def task_response(description: str, /, **values: Any) -> OpenApiResponse:
    return OpenApiResponse(TaskSerializer, description, examples(values))


documented = extend_schema_view(
    list=extend_schema(
        operation_id="listTasks",
        summary="List tasks",
        description="All tasks of the user, or those that `status` asks for, newest first.",
        parameters=[TaskListParameters],
        responses={200: task_response("The user's tasks.", tasks=CREATED_EXAMPLE)},
    ),
    create=extend_schema(
        operation_id="createTask",
        summary="Create a task",
        description="White space around the title is removed. The description is kept as it is sent. Send an "
        "`Idempotency-Key`, such as `crypto.randomUUID()`, if you want to be able to repeat the request.",
        parameters=[IDEMPOTENCY_KEY_HEADER, LOCATION_HEADER],
        request=task_request(
            TaskSerializer,
            title={"title": "Buy milk"},
            everything=EVERYTHING_EXAMPLE,
        ),
        responses={
            201: task_response("The task.", title=CREATED_EXAMPLE, everything={**CREATED_EXAMPLE, **EVERYTHING_EXAMPLE})
        },
    ),
    retrieve=extend_schema(
        operation_id="getTask",
        summary="Read a task",
        description="One task of the user.",
        responses={200: task_response("The task.", task=CREATED_EXAMPLE)},
    ),
    update=extend_schema(
        operation_id="updateTask",
        summary="Change a task",
        description="Changes the fields that are sent, as PATCH does. An empty object changes nothing.",
        request=task_request(TaskSerializer(partial=True), description={"description": "Two bottles"}),
        responses={200: task_response("The task as it is now.", description=DESCRIBED_EXAMPLE)},
    ),
    partial_update=extend_schema(
        operation_id="patchTask",
        summary="Change a task",
        description="Changes the fields that are sent. An empty object changes nothing.",
        request=task_request(TaskSerializer, description={"description": "Two bottles"}),
        responses={200: task_response("The task as it is now.", description=DESCRIBED_EXAMPLE)},
    ),
    destroy=extend_schema(
        operation_id="deleteTask",
        summary="Delete a task",
        description="Deletes a task. A second request is 404.",
        responses={204: OpenApiResponse(description="The task is deleted.")},
    ),
    toggle=extend_schema(
        operation_id="toggleTask",
        summary="Complete a task, or reopen it",
        description="Without a body, or with `{}`, flips `completed`. With `completed` in the body, sets that value, "
        "so that a retry does no harm.",
        request=task_request(ToggleSerializer, flip={}, set={"completed": True}),
        responses={200: task_response("The task as it is now.", flip=COMPLETED_EXAMPLE, set=COMPLETED_EXAMPLE)},
    ),
)


def refine_schemas(result: dict[str, Any], **kwargs: object) -> dict[str, Any]:
    """Adds a pattern to each text field of a request. drf-spectacular calls it (`POSTPROCESSING_HOOKS`).

    Removes the id's format, `int64`: generators of clients may use another type for it than JavaScript's number.
    """
    del result["components"]["schemas"]["Task"]["properties"]["id"]["format"]
    for name, field in TaskSerializer().fields.items():
        if isinstance(field, StrictCharField):
            for schema in ("TaskRequest", "PatchedTaskRequest"):
                properties = result["components"]["schemas"][schema]["properties"]
                properties[name]["pattern"] = ANY_TEXT if field.allow_blank else NOT_BLANK
    return result


def name_requests(result: dict[str, Any], **kwargs: object) -> dict[str, Any]:
    """Gives the schemas of requests the names in `REQUEST_NAMES`. It is the last hook, because the others use
    the derived names.
    """
    schemas = result["components"]["schemas"]
    result["components"]["schemas"] = {REQUEST_NAMES.get(name, name): schema for name, schema in schemas.items()}
    for operations in result["paths"].values():
        for operation in operations.values():
            if "requestBody" in operation:
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                path, _, name = schema["$ref"].rpartition("/")
                schema["$ref"] = f"{path}/{REQUEST_NAMES[name]}"
    return result
