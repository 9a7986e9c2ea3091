"""Workers that are killed, and instances that are restarted in turn."""

import os
import signal
import time
from pathlib import Path

import pytest

from testing.servers import get, is_running, wait_until

from .load import AddReport, Load, Outcome
from .servers import Backend, Haproxy, Postgresql


def test_a_killed_worker_is_replaced_and_costs_only_its_requests(
    postgresql: Postgresql, folder: Path, report: AddReport
) -> None:
    kills = 3
    with Backend(folder, postgresql.todo_url(), workers=2) as backend, Load(backend) as load:
        time.sleep(1)
        start = time.monotonic()
        for _ in range(kills):
            killed, other = backend.workers()
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda killed=killed: not is_running(killed), "the worker ends")  # type: ignore[misc]
            wait_until(lambda: len(backend.workers()) == 2, "a new worker runs", 10)
            assert other in backend.workers()
            time.sleep(2)
        end = time.monotonic()
        load.stop()
        report(load, end - start)
    counts = load.counts()
    assert counts[Outcome.LOST] <= kills * len(load.users)
    assert counts[Outcome.ANSWERED] == len(load.records) - counts[Outcome.LOST]


@pytest.mark.requirement("SC-004")
def test_two_instances_restarted_in_turn_lose_no_request(
    postgresql: Postgresql, folder: Path, report: AddReport
) -> None:
    a, b = Backend(folder, postgresql.todo_url()), Backend(folder, postgresql.todo_url())
    with a, b, Haproxy(folder, a, b) as balancer, Load(balancer) as load:
        start = time.monotonic()
        for name, instance in [("a", a), ("b", b)]:
            wait_until(lambda: balancer.is_up("a") and balancer.is_up("b"), "both instances get requests")
            balancer.tell(f"set server api/{name} state drain")
            instance.stop()
            instance.start()
            assert get(instance.port, "/readyz")[0] == 200
            balancer.tell(f"set server api/{name} state ready")
        wait_until(lambda: balancer.is_up("b"), "instance b gets requests again")
        end = time.monotonic()
        time.sleep(1)
        load.stop()
        report(load, end - start)
    assert load.counts() == {Outcome.ANSWERED: len(load.records)}
