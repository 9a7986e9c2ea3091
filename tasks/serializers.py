from typing import Any

from rest_framework import serializers

from .models import DESCRIPTION_MAX_LENGTH, FIELDS, TITLE_MAX_LENGTH, Task


class StrictCharField(serializers.CharField):
    """Takes JSON strings only; `CharField` makes strings of numbers, and of any value to see whether it is blank."""

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if data is not serializers.empty and not isinstance(data, str | None):
            self.fail("invalid")
        return super().run_validation(data)


class StrictBooleanField(serializers.BooleanField):
    """Takes JSON's `true` and `false` only; `BooleanField` takes `1`, `"yes"` and more."""

    # An empty body that calls itself a form is no body, and not a form whose checkbox is off.
    default_empty_html = serializers.empty

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid")
        return data


class TaskSerializer(serializers.ModelSerializer[Task]):
    title = StrictCharField(
        max_length=TITLE_MAX_LENGTH, help_text=f"1 to {TITLE_MAX_LENGTH} characters, without the space around them."
    )
    description = StrictCharField(
        max_length=DESCRIPTION_MAX_LENGTH, allow_null=True, allow_blank=True, trim_whitespace=False, required=False
    )
    completed = StrictBooleanField(required=False)

    class Meta:
        model = Task
        fields = FIELDS
        read_only_fields = ["user_id"]


class ToggleSerializer(serializers.Serializer[Task]):
    completed = StrictBooleanField(required=False)


class TaskListParameters(serializers.Serializer[Task]):
    status = serializers.ChoiceField(["all", "pending", "completed"], default="all", help_text="Which tasks to list.")
