class NoAuthTables:
    """Creates no tables for `auth` and `contenttypes`, because Better Auth has the users."""

    def allow_migrate(self, db: str, app_label: str, **hints: object) -> bool | None:
        return False if app_label in ("auth", "contenttypes") else None
