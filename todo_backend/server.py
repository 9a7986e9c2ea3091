"""The production server, Granian, with the options that the API needs, and with a stop that always works."""

import gc
import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import resource_tracker
from typing import Any

from django.conf import settings
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels

from .environment import Server

logger = logging.getLogger(__name__)

# Seconds that running requests have to end after SIGTERM
STOP_TIMEOUT = 15
# Milliseconds in which a connection must send the head of a request, also of the next one on a kept connection
HEADER_TIMEOUT = 10_000
# Bytes of a request's head. A token has up to 8 KiB, and a path up to 6 KiB while it is percent-encoded.
HEADER_BUFFER = 64 * 1024
# Connections that a worker has at once, whether they send a request or not. Each may hold `HEADER_BUFFER` bytes.
MAX_CONNECTIONS = 2048
# Seconds for which a worker still accepts connections after the signal. Granian closes a connection without an answer
# if it has not read its request yet. Without these seconds, 9 of 60 stops lost requests that the kernel had queued.
STOP_DELAY = 0.2
STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}


def serve(server: Server, *, target: str = f"{__name__}:load_application", metrics_port: int | None = None) -> None:
    """Serves until SIGINT or SIGTERM arrives, and raises `SystemExit` if the workers cannot run.

    `target` names a function that returns a WSGI application. `metrics_port` is a port of 127.0.0.1 for Granian's
    metrics in the format of Prometheus; without it there are none.
    """
    # A worker reads the settings and installs its signal handlers in a new interpreter, on every platform.
    multiprocessing.set_start_method("spawn")
    deliver_stop_signals()
    Granian(
        target,
        factory=True,
        interface=Interfaces.WSGI,
        address=server.host,
        port=server.port,
        workers=server.workers,
        blocking_threads=server.threads,
        backpressure=max_connections(),
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_TIMEOUT, max_buffer_size=HEADER_BUFFER),
        websockets=False,
        respawn_failed_workers=True,
        metrics_enabled=metrics_port is not None,
        metrics_port=metrics_port or 0,
        # Granian's lines go to the handlers of settings.LOGGING.
        log_level=LogLevels(settings.LOGGING["root"]["level"].lower()),
        log_dictconfig={"formatters": {}, "handlers": {}, "loggers": {}},
    ).serve()


def max_connections() -> int:
    """`MAX_CONNECTIONS`, or half of the files that a process may open, if that is less.

    Without a file for the next connection, Granian tries to accept it again and again without a pause, and the
    application cannot connect to the database.
    """
    # Windows has no such limit. -1 stands for no limit, which macOS can have.
    files = os.sysconf("SC_OPEN_MAX") if hasattr(os, "sysconf") else -1
    return MAX_CONNECTIONS if files == -1 else min(MAX_CONNECTIONS, files // 2)


def load_application() -> Any:
    """The WSGI application. Granian calls this function in the main thread of each worker."""
    deliver_stop_signals()
    from .wsgi import application  # The main process does not need it.

    # A full garbage collection stops all threads. It takes 50 ms with the objects of the loaded code, and half of that
    # without them.
    gc.collect()
    gc.freeze()
    return application


def deliver_stop_signals() -> None:
    """Starts a thread that calls the handler of SIGTERM once, for the first SIGINT or SIGTERM of this process.

    Call this function in the main thread of a new interpreter. Granian's main thread sleeps in
    `threading.Event.wait()`. A signal that arrives immediately before this sleep, or on another thread, does not end
    it. A second signal while the handler of the first one is in `Event.set()` is a deadlock. A terminal, systemd and
    many platforms cause two signals in a worker: their own, and the one of Granian's main process.

    Windows has no `sigwait()`. There, before Python 3.14, no signal ends `Event.wait()` at all, but Python writes the
    number of each signal to a socket. See github.com/python/cpython/issues/125541.
    """
    if hasattr(signal, "sigwait"):
        # The resource tracker unblocks these signals when it starts. It would start with the first worker.
        resource_tracker.ensure_running()
        # The other threads inherit this mask.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        next_signal = partial(signal.sigwait, STOP_SIGNALS)
    else:
        receiver, sender = socket.socketpair()
        sender.setblocking(False)
        signal.set_wakeup_fd(sender.detach())
        next_signal = partial(receive_signal, receiver)
    threading.Thread(target=wait_and_stop, args=[next_signal], daemon=True).start()


def receive_signal(receiver: socket.socket) -> int:
    number = receiver.recv(1)[0]
    # Python writes later signals, too, so nothing may close the socket.
    receiver.detach()
    return number


def wait_and_stop(next_signal: Callable[[], int]) -> None:
    """Waits for a signal and calls its handler. Ends a worker whose requests do not end in time.

    Granian's own `workers_kill_timeout` says at times that it kills a worker which has already ended.
    """
    number = next_signal()
    # Granian installs its handler after it has loaded the application.
    while not callable(handler := signal.getsignal(signal.SIGTERM)):
        time.sleep(0.01)
    is_worker = multiprocessing.parent_process() is not None
    if is_worker:
        time.sleep(STOP_DELAY)
    handler(number, None)
    if is_worker:
        time.sleep(STOP_TIMEOUT)
        logger.warning("Killing this worker, because its requests have not ended in %d s.", STOP_TIMEOUT)
        os._exit(1)
