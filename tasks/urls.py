from django.urls import register_converter
from rest_framework.routers import SimpleRouter

from .models import MAX_ID
from .views import TaskViewSet


class TaskIdConverter:
    """An id of up to `MAX_ID` in decimal ASCII digits, without a sign and without a leading zero."""

    regex = "[1-9][0-9]{0,15}"

    def to_python(self, value: str) -> int:
        if int(value) > MAX_ID:
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
