"""A database that is killed, hangs, is locked or closes its connections, under load."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from testing.servers import get

from .load import AddReport, Load, Outcome
from .servers import Backend, Postgresql
from .watch import Fault, Probe

# Seconds after a fault within which all requests are answered again
BACK_WITHIN = 5
# Seconds within which /healthz answers while other requests wait for the database
LIVE_WITHIN = 3


@contextmanager
def fault_under_load() -> Iterator[Fault]:
    """Waits a second, lets the fault last as long as the context, and waits for the recovery."""
    time.sleep(1)
    with Fault() as fault:
        yield fault
    time.sleep(BACK_WITHIN + 1)


@pytest.mark.requirement("SC-004")
def test_killing_postgresql_costs_only_the_time_until_its_restart(
    backend: Backend, postgresql: Postgresql, report: AddReport
) -> None:
    with Load(backend) as load, fault_under_load() as fault:
        postgresql.kill()
        time.sleep(4)
        postgresql.start()
    report(load, fault.seconds, load.back_after(fault.end))
    counts = load.counts()
    assert counts[Outcome.REFUSED] > 0
    assert counts[Outcome.LOST] == 0
    assert load.back_after(fault.end) <= BACK_WITHIN
    assert load.slowest() <= 6


@pytest.mark.requirement("SC-004")
def test_connections_cut_while_idle_cost_no_request(
    backend: Backend, postgresql: Postgresql, report: AddReport
) -> None:
    load = Load(backend)
    cut = 0
    for _ in range(10):
        load.step_all(steps=3)
        cut += postgresql.terminate_connections()
    load.step_all(steps=3)
    report(load)
    assert cut > 10
    assert load.counts()[Outcome.ANSWERED] == len(load.records)


def test_cutting_connections_costs_only_running_requests(
    backend: Backend, postgresql: Postgresql, report: AddReport
) -> None:
    cuts = 20
    with Load(backend) as load:
        for _ in range(cuts):
            time.sleep(0.2)
            postgresql.terminate_connections()
        last = time.monotonic()
        time.sleep(1)
    report(load, back=load.back_after(last))
    counts = load.counts()
    assert counts[Outcome.LOST] == 0
    assert len(load.records) - counts[Outcome.ANSWERED] <= cuts * len(load.users)
    assert load.back_after(last) <= 1


@pytest.mark.requirement("SC-004")
def test_while_postgresql_hangs_requests_end_and_healthz_answers(
    backend: Backend, postgresql: Postgresql, report: AddReport
) -> None:
    """There are more clients than the server has threads."""
    with (
        Load(backend, users=40, pace=3) as load,
        Probe(backend, "/healthz") as live,
        Probe(backend, "/readyz") as ready,
        fault_under_load() as fault,
        postgresql.paused(),
    ):
        time.sleep(12)
        assert get(backend.port, "/readyz")[0] == 503
    report(load, fault.seconds, load.back_after(fault.end))
    counts = load.counts()
    assert counts[Outcome.REFUSED] + counts[Outcome.UNKNOWN] > 0
    assert counts[Outcome.LOST] == 0
    assert load.back_after(fault.end) <= BACK_WITHIN
    assert load.slowest() <= 10
    assert live.statuses() == {200}
    assert live.slowest() <= LIVE_WITHIN
    assert ready.statuses(fault.end + BACK_WITHIN) == {200}
    assert ready.slowest() <= 10


@pytest.mark.requirement("SC-004")
def test_while_the_table_is_locked_requests_end(backend: Backend, postgresql: Postgresql, report: AddReport) -> None:
    with (
        Load(backend) as load,
        Probe(backend, "/healthz") as live,
        fault_under_load() as fault,
        postgresql.locked(),
    ):
        time.sleep(12)
    report(load, fault.seconds, load.back_after(fault.end))
    counts = load.counts()
    assert counts[Outcome.REFUSED] > 0
    assert counts[Outcome.LOST] == 0
    assert load.back_after(fault.end) <= BACK_WITHIN
    assert load.slowest() <= 10
    assert live.statuses() == {200}
    assert live.slowest() <= LIVE_WITHIN


def test_a_locked_row_delays_only_its_writes(backend: Backend, postgresql: Postgresql, report: AddReport) -> None:
    owner = Load(backend, users=1)
    [user] = owner.users
    user.create()
    user.finish()
    [pk] = user.tasks
    lock = f"SELECT FROM tasks_task WHERE id = {pk} FOR UPDATE"
    with Load(backend) as others, Fault() as fault, postgresql.locked(lock):
        user.get(pk)
        assert owner.counts() == {Outcome.ANSWERED: len(owner.records)}
        user.change_somehow(pk)
    failed = [record for record in owner.records if record.outcome is not Outcome.ANSWERED]
    assert [record.outcome for record in failed] == [Outcome.REFUSED]
    assert owner.slowest() <= 10
    report(others, fault.seconds)
    report(owner, fault.seconds)
    assert others.counts()[Outcome.ANSWERED] == len(others.records)


@pytest.mark.requirement("SC-004")
def test_twelve_concurrent_users_share_two_connections(
    pooled: Backend, postgresql: Postgresql, report: AddReport
) -> None:
    # The connections of the `direct` backend would be counted, too.
    postgresql.terminate_connections()
    with Load(pooled, users=12, pace=1000) as load:
        connections = []
        for _ in range(10):
            time.sleep(0.5)
            connections.append(len(postgresql.connections()))
    report(load)
    assert max(connections) <= 2
    assert load.counts()[Outcome.ANSWERED] == len(load.records)
