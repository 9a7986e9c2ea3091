"""Creates with an `Idempotency-Key`, repeated until they are answered, over connections that break."""

import json
import random
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .load import AddReport, Load, Outcome, User
from .servers import Backend, Postgresql, proxy

CREATES = 1000
THREADS = 8
# The end of PostgreSQL's answer to an INSERT
COMMITTED = b"INSERT 0 1\0"


def one_in_three(committed: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
    return lambda data: committed(data) and random.random() < 1 / 3


@pytest.mark.requirement("SC-004")
def test_each_key_creates_one_task_though_answers_are_lost(
    postgresql: Postgresql, folder: Path, report: AddReport
) -> None:
    """A third of PostgreSQL's answers is lost before the server, and a third of the server's before the client."""
    with (
        proxy(postgresql.port, one_in_three(lambda data: COMMITTED in data)) as database,
        Backend(folder, postgresql.todo_url(port=database, sslmode="disable")) as backend,
        proxy(backend.port, one_in_three(lambda data: b" 201 " in data)) as port,
    ):
        load = Load(backend, users=THREADS)

        def create(user: User) -> None:
            user.connect(port)
            for number in range(CREATES // THREADS):
                key = str(uuid.uuid4())
                user.unanswered[key] = (f"create {number}", None, False)
                while user.unanswered:
                    user.repeat(key)

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(create, load.users))
        report(load)
    counts = load.counts()
    assert load.present == CREATES
    assert counts[Outcome.ANSWERED] >= CREATES
    assert min(counts[Outcome.LOST], counts[Outcome.UNKNOWN]) > CREATES / 10
    names = ", ".join(f"'{user.name}'" for user in load.users)
    assert postgresql.query(f"SELECT count(*) FROM tasks_task WHERE user_id IN ({names})") == [(CREATES,)]


@pytest.mark.requirement("FR-002")
def test_concurrent_creates_with_one_key_create_one_task(backend: Backend, postgresql: Postgresql) -> None:
    users = [User(backend.port) for _ in range(THREADS)]
    for user in users:
        user.headers = users[0].headers
        user.name = users[0].name
    state = ("one", None, False)
    for _ in range(20):
        key = str(uuid.uuid4())
        with ThreadPoolExecutor(THREADS) as pool:
            answers = list(pool.map(lambda user, key=key: user.post(state, key), users))
        assert {outcome for outcome, _ in answers} == {Outcome.ANSWERED}
        assert len({json.dumps(task) for _, task in answers}) == 1
    for user in users:
        user.client.close()
    assert postgresql.query(f"SELECT count(*) FROM tasks_task WHERE user_id = '{users[0].name}'") == [(20,)]
