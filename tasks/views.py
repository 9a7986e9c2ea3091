import json
import re
from typing import Any, cast

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.viewsets import GenericViewSet

from .models import IDEMPOTENCY_KEY, Task, TaskQuerySet
from .openapi import documented
from .serializers import TaskListParameters, TaskSerializer, ToggleSerializer

# Shared, because making a serializer's fields takes ten times as long as validating with them, which keeps nothing.
NEW_TASK = TaskSerializer()
CHANGES = TaskSerializer(partial=True)
COMPLETION = ToggleSerializer()
LIST_PARAMETERS = TaskListParameters()


@documented
class TaskViewSet(GenericViewSet[Task]):
    """The tasks of the user who asks. Each action is one statement on `get_queryset`."""

    serializer_class = TaskSerializer
    lookup_value_converter = "task_id"
    http_method_names = ["get", "head", "post", "put", "patch", "delete"]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Leaves no circle of references, in which the base class leaves bodies and answers to the collector."""
        try:
            return super().dispatch(request, *args, **kwargs)
        finally:
            self.request.parser_context.clear()
            vars(self).clear()

    def get_queryset(self) -> TaskQuerySet:
        return Task.objects.for_user(cast(str, self.request.user.pk))

    def list(self, request: Request, **kwargs: str) -> HttpResponse:
        parameters = LIST_PARAMETERS.run_validation(request.query_params.dict())
        conditions = {"all": {}, "pending": {"completed": False}, "completed": {"completed": True}}
        tasks = self.get_queryset().matching(**conditions[parameters["status"]])
        return json_response(f"[{','.join(tasks.as_json())}]")

    def create(self, request: Request, **kwargs: str) -> HttpResponse:
        values = NEW_TASK.run_validation(request.data)
        key = request.headers.get("Idempotency-Key")
        if key is not None and not re.fullmatch(IDEMPOTENCY_KEY, key):
            raise ValidationError({"Idempotency-Key": ["Send 1 to 255 visible ASCII characters."]})
        task = Task.objects.create_once(user_id=request.user.pk, idempotency_key=key, **values)
        location = reverse("task-detail", kwargs={"pk": json.loads(task)["id"]})
        return json_response(task, status=status.HTTP_201_CREATED, headers={"Location": location})

    def retrieve(self, request: Request, pk: int, **kwargs: str) -> HttpResponse:
        return json_response(found(self.get_queryset().matching(pk=pk).as_json()))

    def update(self, request: Request, pk: int, **kwargs: str) -> HttpResponse:
        values = CHANGES.run_validation(request.data)
        task = self.get_queryset().matching(pk=pk)
        return json_response(found(task.update_returning(**values) if values else task.as_json()))

    def partial_update(self, request: Request, pk: int, **kwargs: str) -> HttpResponse:
        return self.update(request, pk)

    @action(detail=True, methods=["patch"], url_path="complete")
    def toggle(self, request: Request, pk: int, **kwargs: str) -> HttpResponse:
        values = COMPLETION.run_validation(request.data)
        task = self.get_queryset().matching(pk=pk)
        return json_response(found(task.update_returning(**values) if values else task.toggle_returning()))

    def destroy(self, request: Request, pk: int, **kwargs: str) -> HttpResponse:
        if not self.get_queryset().matching(pk=pk).delete_at_once():
            raise NotFound
        response = HttpResponse(status=status.HTTP_204_NO_CONTENT)
        del response.headers["Content-Type"]
        return response


def found(tasks: list[str]) -> str:
    """The only task; raises `NotFound` where the user has no such task."""
    if not tasks:
        raise NotFound
    return tasks[0]


def json_response(content: str, **kwargs: Any) -> HttpResponse:
    # As the renderer does
    return HttpResponse(
        content.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"), content_type="application/json", **kwargs
    )
