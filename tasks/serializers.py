from typing import Any

from rest_framework import serializers

from .models import DESCRIPTION_MAX_LENGTH, MAX_ID, TITLE_MAX_LENGTH, WHITE_SPACE, Task

# U+FEFF is white space for ECMA-262, but not for Python.
BYTE_ORDER_MARK = "\ufeff"


class StrictCharField(serializers.CharField):
    """Accepts JSON strings only. `max_length` counts the characters as sent.

    `CharField` also accepts numbers, counts after trimming, and trims only Python's white space.
    """

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if isinstance(data, str):
            if self.max_length is not None and len(data) > self.max_length:
                self.fail("max_length", max_length=self.max_length)
            if self.trim_whitespace:
                data = data.strip(WHITE_SPACE + BYTE_ORDER_MARK)
        elif data is not serializers.empty and data is not None:
            self.fail("invalid")
        return super().run_validation(data)


class StrictBooleanField(serializers.BooleanField):
    """Accepts JSON's `true` and `false` only. `BooleanField` also accepts `1`, `"yes"` and others."""

    # `BooleanField` reads an empty form as false. In this API an empty body counts as no body, whatever its type.
    default_empty_html = serializers.empty

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid")
        return data


class TaskSerializer(serializers.ModelSerializer[Task]):
    id = serializers.IntegerField(read_only=True, min_value=1, max_value=MAX_ID)
    title = StrictCharField(max_length=TITLE_MAX_LENGTH, help_text="Not blank. White space around it is removed.")
    description = StrictCharField(
        max_length=DESCRIPTION_MAX_LENGTH, allow_null=True, allow_blank=True, trim_whitespace=False, required=False
    )
    completed = StrictBooleanField(required=False)

    class Meta:
        model = Task
        fields = Task.API_FIELDS
        read_only_fields = ["user_id"]


class ToggleSerializer(serializers.Serializer[Task]):
    completed = StrictBooleanField(required=False)


class TaskListParameters(serializers.Serializer[Task]):
    status = serializers.ChoiceField(["all", "pending", "completed"], default="all", help_text="Which tasks to list.")
