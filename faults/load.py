"""Users who send requests, keep a ledger of acknowledged writes, and compare each answer with it."""

import http.client
import itertools
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum
from threading import Event
from typing import Any, NamedTuple, Self

from testing.processes import SECRET
from testing.servers import ServerProcess
from testing.tokens import claims, sign

from .servers import Postgresql

# Seconds after which a write of unknown outcome is either done or never will be. Longer than the longest fault.
SETTLED_AFTER = 30
MAX_TASKS = 20
NOT_FOUND = {"detail": "Not found."}
# A task's title, description and `completed`
State = tuple[str, str | None, bool]
# The type of the fixture `report`
AddReport = Callable[..., None]


class Outcome(Enum):
    ANSWERED = "the answer that the specification promises"
    REFUSED = "503 with Retry-After: nothing was written"
    UNKNOWN = "503 without Retry-After: the outcome of the write is unknown"
    LOST = "no answer: the connection broke"
    WRONG = "anything else"


UNSURE = (Outcome.UNKNOWN, Outcome.LOST)


class Record(NamedTuple):
    """A request that was sent. Its times are those of the monotonic clock."""

    method: str
    start: float
    end: float
    outcome: Outcome


def state_of(task: Any) -> State:
    """The state of a task from an answer, or from a row with the same names."""
    return task["title"], task["description"], task["completed"]


def state_or_none(answer: Any) -> State | None:
    """The state of the task in an answer; `None` for the body of a 404."""
    return None if answer == NOT_FOUND else state_of(answer)


def outcome_of(method: str, response: http.client.HTTPResponse, body: Any, statuses: tuple[int, ...]) -> Outcome:
    """The outcome of a request, from its answer and the expected statuses."""
    if response.getheader("Content-Type", "application/json") != "application/json":
        return Outcome.WRONG
    if response.status in statuses:
        return Outcome.ANSWERED
    if response.status != 503 or not isinstance(body, dict) or not isinstance(body.get("detail"), str):
        return Outcome.WRONG
    if (wait := response.getheader("Retry-After")) is not None:
        return Outcome.REFUSED if wait.isdigit() and int(wait) > 0 else Outcome.WRONG
    return Outcome.WRONG if method == "GET" else Outcome.UNKNOWN


class User:
    """A user with one connection, who sends one request at a time and keeps a ledger of the expected tasks.

    After a write with an unknown outcome, a task may have either of two states. The user does not change it for
    `SETTLED_AFTER` seconds, because the statement may still be waiting in the database. A create with an
    `Idempotency-Key` is repeated until it is answered.
    """

    def __init__(self, port: int) -> None:
        self.name = str(uuid.uuid4())
        self.random = random.Random(self.name)
        self.connect(port)
        self.headers = {
            "Authorization": f"Bearer {sign(claims(self.name), secret=SECRET)}",
            "Content-Type": "application/json",
        }
        self.numbers = itertools.count()
        self.records: list[Record] = []
        self.wrong: list[str] = []
        # The ledger, by the tasks' ids. `unsettled` has the time of the last write and the possible states of a task.
        self.tasks: dict[int, State] = {}
        self.unsettled: dict[int, tuple[float, set[State | None]]] = {}
        self.deleted: set[int] = set()
        # Creates without a key whose outcome is unknown
        self.unknown: set[State] = set()
        # Creates that are not answered yet, by their key
        self.unanswered: dict[str, State] = {}

    def connect(self, port: int) -> None:
        self.client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def send(
        self,
        method: str,
        path: str,
        statuses: tuple[int, ...],
        is_right: Callable[[Any], bool],
        data: Any = None,
        key: str = "",
    ) -> tuple[Outcome, Any]:
        """Sends a request. Returns its outcome and the JSON of the answer.

        An answer with one of the statuses is wrong unless `is_right` is true for its JSON.
        """
        headers = {**self.headers, **({"Idempotency-Key": key} if key else {})}
        start = time.monotonic()
        status, body = 0, None
        try:
            self.client.request(method, path, None if data is None else json.dumps(data), headers)
            response = self.client.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as exc:
            self.client.close()
            outcome = Outcome.LOST
            content = repr(exc).encode()
        else:
            status = response.status
            try:
                body = json.loads(content) if content else None
                outcome = outcome_of(method, response, body, statuses)
                if outcome is Outcome.ANSWERED and not is_right(body):
                    outcome = Outcome.WRONG
            except (ValueError, LookupError, TypeError):
                outcome = Outcome.WRONG
        self.records.append(Record(method, start, time.monotonic(), outcome))
        if outcome is Outcome.WRONG:
            self.wrong.append(f"{method} {path} {data}: {status} {content[:300]!r}")
        return outcome, body

    def own_task_check(self, state: State) -> Callable[[Any], bool]:
        """A function that returns whether a task has the state and belongs to this user."""
        return lambda task: state_of(task) == state and task["user_id"] == self.name

    def title(self) -> str:
        """A title that no other task of the user has or had."""
        return f"title {next(self.numbers)}"

    def create(self) -> None:
        """Creates a task, half of the time with an `Idempotency-Key`."""
        state = (self.title(), self.random.choice([None, "é 😀"]), self.random.random() < 0.5)
        if self.random.random() < 0.5:
            key = str(uuid.uuid4())
            self.unanswered[key] = state
            self.repeat(key)
            return
        outcome, task = self.post(state)
        if outcome is Outcome.ANSWERED:
            self.tasks[task["id"]] = state
        elif outcome in UNSURE:
            self.unknown.add(state)

    def repeat(self, key: str) -> None:
        """Sends the create with that key, for the first time or again."""
        outcome, task = self.post(self.unanswered[key], key)
        if outcome is Outcome.ANSWERED:
            self.tasks[task["id"]] = self.unanswered.pop(key)

    def post(self, state: State, key: str = "") -> tuple[Outcome, Any]:
        data = dict(zip(("title", "description", "completed"), state, strict=True))
        return self.send("POST", "/api/tasks", (201,), self.own_task_check(state), data, key)

    def change(self, pk: int, after: State | None, method: str, suffix: str = "", data: Any = None) -> None:
        """Changes a task to the state `after`, or deletes it if `after` is `None`."""
        status, is_right = (200, self.own_task_check(after)) if after else (204, lambda body: body is None)
        outcome, _ = self.send(method, f"/api/tasks/{pk}{suffix}", (status,), is_right, data)
        if outcome in UNSURE:
            self.unsettled[pk] = (time.monotonic(), {self.tasks.pop(pk), after})
        elif outcome is Outcome.ANSWERED:
            self.settle(pk, after)

    def settle(self, pk: int, state: State | None) -> None:
        """Enters the known state of a task. `None` is that of a deleted task."""
        self.unsettled.pop(pk, None)
        if state:
            self.tasks[pk] = state
        else:
            self.tasks.pop(pk, None)
            self.deleted.add(pk)

    def change_somehow(self, pk: int) -> None:
        """Sends a random write to a task: an update, a toggle or a delete."""
        title, description, completed = self.tasks[pk]
        new_title = self.title()
        renamed, flipped = (new_title, description, completed), (title, description, not completed)
        changes: list[Callable[[], None]] = [
            lambda: self.change(pk, renamed, "PUT", "", {"title": new_title}),
            lambda: self.change(pk, renamed, "PATCH", "", {"title": new_title}),
            lambda: self.change(pk, flipped, "PATCH", "/complete"),
            lambda: self.change(pk, flipped, "PATCH", "/complete", {"completed": not completed}),
            lambda: self.change(pk, None, "DELETE"),
        ]
        self.random.choice(changes)()

    def get(self, pk: int) -> None:
        """Reads a task, which may be deleted or unsettled, and settles it."""
        possible = self.unsettled[pk][1] if pk in self.unsettled else {self.tasks.get(pk)}
        statuses = tuple({200 if state else 404 for state in possible})
        outcome, body = self.send("GET", f"/api/tasks/{pk}", statuses, lambda body: state_or_none(body) in possible)
        if outcome is Outcome.ANSWERED:
            self.settle(pk, state_or_none(body))

    def list_all(self) -> bool:
        """Lists all tasks, and enters those of creates with an unknown outcome. Returns whether it was answered."""
        outcome, body = self.send("GET", "/api/tasks", (200,), lambda tasks: not [*self.contradictions(tasks)])
        if outcome is Outcome.WRONG and isinstance(body, list):
            self.wrong.extend(self.contradictions(body))
        if outcome is Outcome.ANSWERED:
            for task in body:
                if (state := state_of(task)) in self.unknown:
                    self.unknown.remove(state)
                    self.tasks[task["id"]] = state
        return outcome is Outcome.ANSWERED

    def contradictions(self, tasks: Any) -> Iterator[str]:
        """A sentence for each contradiction between the ledger and a list of all tasks."""
        found = {task["id"]: state_of(task) for task in tasks}
        for pk, state in self.tasks.items():
            if found.get(pk) != state:
                yield f"task {pk} was acknowledged as {state} and is {found.get(pk)}"
        for pk, (_, states) in self.unsettled.items():
            if found.get(pk) not in states:
                yield f"task {pk} could be one of {states} and is {found.get(pk)}"
        expected = {*self.unknown, *self.unanswered.values()}
        for pk, state in found.items():
            if pk not in self.tasks and pk not in self.unsettled and (pk in self.deleted or state not in expected):
                yield f"task {pk} {'was deleted' if pk in self.deleted else 'was never created'} and is {state}"
        if len({title for title, _, _ in found.values()}) < len(found):
            yield f"a task was created twice: {sorted(found.values())}"

    def step(self) -> None:
        """Sends one request: a read that settles a task, a repeated create, or a random request."""
        long_ago = time.monotonic() - SETTLED_AFTER
        if old := [pk for pk, (since, _) in self.unsettled.items() if since < long_ago]:
            self.get(old[0])
        elif self.unanswered and self.random.random() < 0.5:
            self.repeat(next(iter(self.unanswered)))
        elif len(self.tasks) < 3:
            self.create()
        elif len(self.tasks) + len(self.unsettled) > MAX_TASKS:
            self.change(min(self.tasks), None, "DELETE")
        else:
            pk = self.random.choice([*self.tasks])
            choices: list[Callable[[], object]] = [
                self.create,
                self.list_all,
                lambda: self.get(pk),
                lambda: self.get(max(self.deleted, default=pk)),
                *[lambda: self.change_somehow(pk)] * 4,
            ]
            self.random.choice(choices)()

    def finish(self) -> None:
        """Repeats unanswered creates and then lists all tasks, until both are answered or 20 s have passed."""
        deadline = time.monotonic() + 20
        while self.unanswered or not self.list_all():
            if self.unanswered:
                self.repeat(next(iter(self.unanswered)))
            if time.monotonic() > deadline:
                self.wrong.append(f"no answer in 20 s: {self.unanswered}")
                return
        self.client.close()


class Load:
    """Users who each send `pace` requests per second while the context lasts. They share the servers."""

    def __init__(self, *servers: ServerProcess, users: int = 12, pace: float = 10) -> None:
        self.users = [User(server.port) for server, _ in zip(itertools.cycle(servers), range(users), strict=False)]
        self.pace = pace
        self.stopped = Event()
        self.acknowledged = self.present = 0

    def __enter__(self) -> Self:
        self.pool = ThreadPoolExecutor(len(self.users))
        self.threads: list[Future[None]] = [self.pool.submit(self.keep_on, user) for user in self.users]
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.stopped.set()
        self.pool.shutdown()
        for thread in self.threads:
            thread.result()

    def keep_on(self, user: User) -> None:
        """Sends a user's requests at their pace until the load is stopped."""
        due = time.monotonic() + user.random.random() / self.pace
        while not self.stopped.wait(max(0, due - time.monotonic())):
            user.step()
            due = max(due + 1 / self.pace, time.monotonic())

    def connect(self, server: ServerProcess) -> None:
        """Moves all users to another server."""
        for user in self.users:
            user.client.close()
            user.connect(server.port)

    def step_all(self, steps: int) -> None:
        """Lets all users send that many requests, concurrently."""
        with ThreadPoolExecutor(len(self.users)) as pool:
            list(pool.map(lambda user: [user.step() for _ in range(steps)], self.users))

    @property
    def records(self) -> list[Record]:
        return [record for user in self.users for record in [*user.records]]

    @property
    def wrong(self) -> list[str]:
        return [text for user in self.users for text in user.wrong]

    def counts(self) -> Counter[Outcome]:
        return Counter(record.outcome for record in self.records)

    def slowest(self) -> float:
        return max(record.end - record.start for record in self.records)

    def back_after(self, moment: float) -> float:
        """The seconds from a moment to the end of the last request with another outcome than `ANSWERED`."""
        failed = [record.end - moment for record in self.records if record.outcome is not Outcome.ANSWERED]
        return max([0.0, *failed])

    def verify(self, postgresql: Postgresql) -> None:
        """Compares the ledgers with the API's lists and the rows. Raises an `AssertionError` with contradictions."""
        with ThreadPoolExecutor(len(self.users)) as pool:
            list(pool.map(User.finish, self.users))
        rows = postgresql.query("SELECT user_id, id, title, description, completed FROM tasks_task")
        names = ("user_id", "id", "title", "description", "completed")
        for user in self.users:
            tasks = [dict(zip(names, row, strict=True)) for row in rows if row[0] == user.name]
            user.wrong.extend(user.contradictions(tasks))
            found = {task["id"]: state_of(task) for task in tasks}
            self.acknowledged += len(user.tasks)
            self.present += sum(found.get(pk) == state for pk, state in user.tasks.items())
        assert not self.wrong, "\n".join(self.wrong[:20])
