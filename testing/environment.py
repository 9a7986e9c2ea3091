"""The settings that other environment variables would make, without a process of their own."""

import os
import runpy
from typing import Any
from unittest import mock

from django.conf import settings

SETTINGS_FILE = settings.BASE_DIR / "todo_backend" / "settings.py"
SECRET = "a secret of an environment, of 32 bytes or more"


def settings_from(**variables: str) -> dict[str, Any]:
    """Runs settings.py with a secret and these variables, and without `.env` and this process's environment."""
    environ = {"PYTHON_DOTENV_DISABLED": "true", "BETTER_AUTH_SECRET": SECRET, **variables}
    with mock.patch.dict(os.environ, environ, clear=True):
        return runpy.run_path(str(SETTINGS_FILE))
