"""A simulation of Windows: takes away what CPython lacks there, in every Python that has this folder in PYTHONPATH.

It is only a simulation: `sys.platform` stays "linux", and so do paths, files and processes. What others use after
asking `sys.platform` stays, too: `os.getuid` for pytest, `SIGHUP` for Granian, and `AF_UNIX` for asyncio.
"""

import os
import select
import selectors
import signal
import subprocess
import sys
import threading
import time

# What "Availability: Unix" in Python's documentation covers and a server or its tests are likely to use.
MODULES = ["fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"]
NAMES = {
    os: "chown fork geteuid getegid getgid killpg login_tty mkfifo openpty sched_getaffinity setsid sysconf",
    select: "epoll poll",
    selectors: "EpollSelector PollSelector",
    signal: "SIGALRM SIGCONT SIGKILL SIGQUIT SIGSTOP SIGUSR1 SIGUSR2 pthread_kill pthread_sigmask sigwait",
    time: "tzset",
}
SIGNALS = {signal.SIGINT, signal.SIGTERM}
change_mask, posix_kill, posix_raise = signal.pthread_sigmask, os.kill, signal.raise_signal


def receive_signals() -> None:
    """On Windows, no signal wakes the main thread from waiting for a lock, because another thread receives it."""
    change_mask(signal.SIG_UNBLOCK, SIGNALS)
    threading.Event().wait()


def raise_signal(number: int) -> None:
    change_mask(signal.SIG_UNBLOCK, SIGNALS)
    posix_raise(number)
    change_mask(signal.SIG_BLOCK, SIGNALS)


def kill(pid: int, number: int) -> None:
    """On Windows, a process can be terminated, and no other signal can be sent to it."""
    if number != signal.SIGTERM:
        raise ValueError(f"Windows has no way to send the signal {number}")
    posix_kill(pid, number)


threading.Thread(target=receive_signals, daemon=True).start()
change_mask(signal.SIG_BLOCK, SIGNALS)
for module in MODULES:
    sys.modules[module] = None  # type: ignore[assignment]
for owner, names in NAMES.items():
    # Not every system has all of them.
    for name in set(names.split()) & vars(owner).keys():
        delattr(owner, name)
os.kill, signal.raise_signal = kill, raise_signal
signal.CTRL_BREAK_EVENT = signal.SIGTERM  # type: ignore[attr-defined]
selectors.DefaultSelector = selectors.SelectSelector  # type: ignore[assignment, misc]
subprocess.Popen.kill = subprocess.Popen.terminate  # type: ignore[method-assign]
# A pipe's text is in the code page, and its lines end with CR and LF.
code_page = os.environ.get("PYTHONIOENCODING", "cp1252")
for stream, newline in [(sys.stdin, None), (sys.stdout, "\r\n"), (sys.stderr, "\r\n")]:
    stream.reconfigure(encoding=code_page, errors=stream.errors, newline=newline)  # type: ignore[union-attr]
