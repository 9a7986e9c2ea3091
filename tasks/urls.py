from django.db.models import BigAutoField
from django.urls import register_converter
from rest_framework.routers import SimpleRouter

from .views import TaskViewSet


class TaskIdConverter:
    """A 64-bit id in decimal ASCII digits, without a sign and without a leading zero."""

    regex = "[1-9][0-9]{0,18}"

    def to_python(self, value: str) -> int:
        if int(value) > BigAutoField.MAX_BIGINT:
            raise ValueError
        return int(value)

    def to_url(self, value: int) -> str:
        return str(value)


register_converter(TaskIdConverter, "task_id")

router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("tasks", TaskViewSet, basename="task")
# The same API for clients that put the user in the path. The converter is `path`, because a `sub` may contain a slash.
router.register("<path:user_id>/tasks", TaskViewSet, basename="user-task")
urlpatterns = router.urls
