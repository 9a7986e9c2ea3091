import re
from typing import Any, cast

from django.db.models import F, QuerySet
from django.urls import reverse
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import GenericViewSet

from .models import IDEMPOTENCY_KEY, Task, TaskQuerySet
from .openapi import documented
from .serializers import TaskListParameters, TaskSerializer, ToggleSerializer


@documented
class TaskViewSet(mixins.CreateModelMixin, mixins.RetrieveModelMixin, mixins.ListModelMixin, GenericViewSet[Task]):
    """The tasks of the user who asks. Each action is one statement on `get_queryset`."""

    serializer_class = TaskSerializer
    lookup_value_converter = "task_id"
    http_method_names = ["get", "head", "post", "put", "patch", "delete"]

    def get_queryset(self) -> TaskQuerySet:
        return Task.objects.for_user(cast(str, self.request.user.pk))

    def filter_queryset(self, queryset: QuerySet[Task]) -> QuerySet[Task]:  # type: ignore[override]
        if self.action != "list":
            return queryset
        parameters = TaskListParameters(data=self.request.query_params.dict())
        parameters.is_valid(raise_exception=True)
        completed = {"all": None, "pending": False, "completed": True}[parameters.validated_data["status"]]
        return queryset if completed is None else queryset.filter(completed=completed)

    def perform_create(self, serializer: BaseSerializer[Task]) -> None:
        key = self.request.headers.get("Idempotency-Key")
        if key is not None and not re.fullmatch(IDEMPOTENCY_KEY, key):
            raise ValidationError({"Idempotency-Key": ["Send 1 to 255 visible ASCII characters."]})
        serializer.save(user_id=self.request.user.pk, idempotency_key=key)

    def get_success_headers(self, data: dict[str, Any]) -> dict[str, str]:
        return {"Location": reverse("task-detail", kwargs={"pk": data["id"]})}

    def update(self, request: Request, pk: int, **kwargs: str) -> Response:
        serializer = self.get_serializer(data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        return self.change(pk, serializer.validated_data)

    def partial_update(self, request: Request, pk: int, **kwargs: str) -> Response:
        return self.update(request, pk)

    @action(detail=True, methods=["patch"], url_path="complete")
    def toggle(self, request: Request, pk: int, **kwargs: str) -> Response:
        serializer = ToggleSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return self.change(pk, {"completed": ~F("completed"), **serializer.validated_data})

    def destroy(self, request: Request, pk: int, **kwargs: str) -> Response:
        if not self.get_queryset().filter(pk=pk).delete_at_once():
            raise NotFound
        return Response(status=status.HTTP_204_NO_CONTENT)

    def change(self, pk: int, values: dict[str, Any]) -> Response:
        """Sets the values, or reads where there are none; raises `NotFound` where the user has no such task."""
        queryset = self.get_queryset().filter(pk=pk)
        task = queryset.update_returning(**values) if values else queryset.first()
        if task is None:
            raise NotFound
        return Response(self.get_serializer(task).data)
