"""Django's own `runserver`. That of `django.contrib.staticfiles` serves every package's static files with DEBUG."""

from django.core.management.commands.runserver import Command

__all__ = ["Command"]
