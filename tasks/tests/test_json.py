"""Answers have the JSON that the serializer and its renderer would write."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from rest_framework.renderers import JSONRenderer

from tasks.models import Task
from tasks.serializers import TaskSerializer
from testing.client import UserClient

pytestmark = pytest.mark.django_db

CHARACTERS = [
    *map(chr, range(1, 0x100)),
    '"',
    "\\",
    "/",
    "\u2028",
    "\u2029",
    "\ufeff",
    "\ufffd",
    "\uffff",
    "\u0130",
    "\u05d0",
    "\u0627",
    "\u4e2d",
    "e\u0301",
    "\U0001f469\u200d\U0001f680",
    "\U0010ffff",
    "\\u0041",
    "{}",
    "%s",
    "%(x)s",
    "'",
]
FRACTIONS = [0, 1, 10, 100_000, 120_000, 123_000, 123_456, 999_999]


def text(generator: random.Random, longest: int) -> str:
    return "".join(generator.choices(CHARACTERS, k=generator.randint(0, longest)))


def time(generator: random.Random) -> datetime:
    seconds = generator.randrange(int(timedelta(days=365 * 8999).total_seconds()))
    return datetime(1000, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, microseconds=generator.choice(FRACTIONS))


def generate(user: str, count: int) -> None:
    generator = random.Random(user)
    Task.objects.bulk_create(
        Task(
            user_id=user,
            title=f"x{text(generator, 50)}",
            description=generator.choice([None, text(generator, 250)]),
            completed=generator.choice([True, False]),
            created_at=time(generator),
            updated_at=time(generator),
        )
        for _ in range(count)
    )


def as_serialized(**conditions: Any) -> bytes:
    tasks = Task.objects.filter(**conditions)
    rendered: bytes = JSONRenderer().render(TaskSerializer(tasks, many=True).data)
    # The renderer escapes these two for JavaScript before ES2019.
    return rendered.replace(b"\\u2028", "\u2028".encode()).replace(b"\\u2029", "\u2029".encode())


@pytest.mark.parametrize("user", ["ada", "\u00e5da \"'\\ %(x)s", "\u2028\U0001f469"])
def test_answers_have_the_bytes_of_the_serializer(user: str) -> None:
    generate(user, 300)
    client = UserClient(user)
    assert client("GET", "/api/tasks").content == as_serialized()
    assert client("GET", "/api/tasks?status=pending").content == as_serialized(completed=False)
    assert client("GET", "/api/tasks?status=completed").content == as_serialized(completed=True)
    for pk in Task.objects.values_list("pk", flat=True)[:10]:
        for method, path, body in [
            ("GET", "", None),
            ("PATCH", "", {"description": f"{pk}\u2028%s"}),
            ("PUT", "", {"completed": True}),
            ("PATCH", "/complete", None),
        ]:
            response = client(method, f"/api/tasks/{pk}{path}", body)
            assert b"[%b]" % response.content == as_serialized(pk=pk)


def test_a_new_task_has_the_bytes_of_the_serializer(ada: UserClient) -> None:
    generator = random.Random("new")
    for _ in range(50):
        body = {"title": f"x{text(generator, 50)}x", "description": text(generator, 250)}
        response = ada("POST", "/api/tasks", body)
        assert response.status_code == 201
        assert b"[%b]" % response.content == as_serialized(pk=response.json()["id"])


@pytest.mark.postgresql
def test_a_backslash_is_kept_with_standard_conforming_strings_off(ada: UserClient) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL standard_conforming_strings TO off")
    task = ada.task(title="\\'%s")
    assert ada("GET", "/api/tasks").content == as_serialized(pk=task["id"])
