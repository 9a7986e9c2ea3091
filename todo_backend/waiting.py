"""The threads that wait for the body of a request or for Better Auth's keys. The other threads answer meanwhile."""

from threading import BoundedSemaphore

from django.conf import settings


def slots_for(threads: int) -> BoundedSemaphore:
    """A slot for each of three quarters of the threads, or for each but two if these are more."""
    return BoundedSemaphore(max(1, threads * 3 // 4, threads - 2))


slots = slots_for(settings.SERVER.threads)
