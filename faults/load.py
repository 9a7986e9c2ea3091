"""Users who make, change and delete tasks, keep a ledger of what was acknowledged, and hold the server to it."""

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
from testing.services import Service
from testing.tokens import claims, sign

from .servers import Postgresql

# Seconds after which a write of an unknown outcome has happened or never will: the longest fault, and what waits on it
SETTLED_AFTER = 30
MAX_TASKS = 20
NOT_FOUND = {"detail": "Not found."}
# Title, description, completed
State = tuple[str, str | None, bool]
# The fixture `report`
Report = Callable[..., None]


class Outcome(Enum):
    ANSWERED = "as the contract says, with what was asked for"
    REFUSED = "503 with Retry-After: nothing was written"
    UNKNOWN = "503 to a write without Retry-After"
    LOST = "no answer: the connection broke"
    WRONG = "anything else"


UNSURE = (Outcome.UNKNOWN, Outcome.LOST)


class Record(NamedTuple):
    method: str
    start: float
    end: float
    outcome: Outcome


def state_of(task: Any) -> State:
    return task["title"], task["description"], task["completed"]


def state_or_none(answer: Any) -> State | None:
    return None if answer == NOT_FOUND else state_of(answer)


def outcome_of(method: str, response: http.client.HTTPResponse, body: Any, statuses: tuple[int, ...]) -> Outcome:
    """What an answer is by its status and headers."""
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
    """One user on one connection, who does one thing after another and knows what each task has to be.

    After a write whose outcome is unknown a task may be in two states, and is left alone until that is settled: the
    statement may still wait in the database. A create with a key is repeated until it is answered.
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
        self.tasks: dict[int, State] = {}
        self.unsettled: dict[int, tuple[float, set[State | None]]] = {}
        self.deleted: set[int] = set()
        # Creates without a key, whose outcome is unknown, and those by their key, which are not answered yet.
        self.unknown: set[State] = set()
        self.unanswered: dict[str, State] = {}

    def connect(self, port: int) -> None:
        self.client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def send(
        self,
        method: str,
        path: str,
        statuses: tuple[int, ...],
        right: Callable[[Any], bool],
        data: Any = None,
        key: str = "",
    ) -> tuple[Outcome, Any]:
        """The outcome of a request, and the answer's JSON, which has to be right where its status is one of those."""
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
                if outcome is Outcome.ANSWERED and not right(body):
                    outcome = Outcome.WRONG
            except (ValueError, LookupError, TypeError):
                outcome = Outcome.WRONG
        self.records.append(Record(method, start, time.monotonic(), outcome))
        if outcome is Outcome.WRONG:
            self.wrong.append(f"{method} {path} {data}: {status} {content[:300]!r}")
        return outcome, body

    def is_own(self, state: State) -> Callable[[Any], bool]:
        return lambda task: state_of(task) == state and task["user_id"] == self.name

    def title(self) -> str:
        """One that no task has had."""
        return f"title {next(self.numbers)}"

    def create(self) -> None:
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
        outcome, task = self.post(self.unanswered[key], key)
        if outcome is Outcome.ANSWERED:
            self.tasks[task["id"]] = self.unanswered.pop(key)

    def post(self, state: State, key: str = "") -> tuple[Outcome, Any]:
        data = dict(zip(("title", "description", "completed"), state, strict=True))
        return self.send("POST", "/api/tasks", (201,), self.is_own(state), data, key)

    def change(self, pk: int, after: State | None, method: str, suffix: str = "", data: Any = None) -> None:
        """Changes a task to a state, or deletes it, which is none."""
        status, right = (200, self.is_own(after)) if after else (204, lambda body: body is None)
        outcome, _ = self.send(method, f"/api/tasks/{pk}{suffix}", (status,), right, data)
        if outcome in UNSURE:
            self.unsettled[pk] = (time.monotonic(), {self.tasks.pop(pk), after})
        elif outcome is Outcome.ANSWERED:
            self.settle(pk, after)

    def settle(self, pk: int, state: State | None) -> None:
        self.unsettled.pop(pk, None)
        if state:
            self.tasks[pk] = state
        else:
            self.tasks.pop(pk, None)
            self.deleted.add(pk)

    def change_somehow(self, pk: int) -> None:
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
        """Reads a task that exists, or did, or may be in two states."""
        possible = self.unsettled[pk][1] if pk in self.unsettled else {self.tasks.get(pk)}
        statuses = tuple({200 if state else 404 for state in possible})
        outcome, body = self.send("GET", f"/api/tasks/{pk}", statuses, lambda body: state_or_none(body) in possible)
        if outcome is Outcome.ANSWERED:
            self.settle(pk, state_or_none(body))

    def list_all(self) -> bool:
        """Reads all, and takes in what creates of an unknown outcome made; returns whether there was an answer."""
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
        """What in a list of all tasks contradicts the ledger."""
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
                yield f"task {pk} {'was deleted' if pk in self.deleted else 'was never made'} and is {state}"
        if len({title for title, _, _ in found.values()}) < len(found):
            yield f"a task was made twice: {sorted(found.values())}"

    def step(self) -> None:
        """One request of those that make sense now."""
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
        """Repeats what is to be repeated until it is answered, and compares all tasks with the ledger."""
        deadline = time.monotonic() + 20
        while self.unanswered or not self.list_all():
            if self.unanswered:
                self.repeat(next(iter(self.unanswered)))
            if time.monotonic() > deadline:
                self.wrong.append(f"no answer in 20 s: {self.unanswered}")
                return
        self.client.close()


class Load:
    """Users of the services, in turn, each with a number of requests a second, while the context lasts."""

    def __init__(self, *services: Service, users: int = 12, pace: float = 10) -> None:
        self.users = [User(service.port) for service, _ in zip(itertools.cycle(services), range(users), strict=False)]
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
        due = time.monotonic() + user.random.random() / self.pace
        while not self.stopped.wait(max(0, due - time.monotonic())):
            user.step()
            due = max(due + 1 / self.pace, time.monotonic())

    def connect(self, service: Service) -> None:
        for user in self.users:
            user.client.close()
            user.connect(service.port)

    def each(self, steps: int) -> None:
        """That many requests of each user, all users at once."""
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
        """Seconds from the moment to the end of the last request that was not answered as asked."""
        failed = [record.end - moment for record in self.records if record.outcome is not Outcome.ANSWERED]
        return max([0.0, *failed])

    def verify(self, postgresql: Postgresql) -> None:
        """Compares the ledgers with what the API and the database have; raises what contradicts them."""
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
