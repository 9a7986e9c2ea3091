"""Limits how many threads wait for bodies and for Better Auth's keys together. The others answer meanwhile."""

from threading import BoundedSemaphore

from django.conf import settings


def slots_for(threads: int) -> BoundedSemaphore:
    """A semaphore for three quarters of the threads, or for all but two if that is more."""
    return BoundedSemaphore(max(1, threads * 3 // 4, threads - 2))


slots = slots_for(settings.SERVER.threads)
