class NoAuthTables:
    """Keeps the tables of `auth` and `contenttypes` out of every database, because users live in Better Auth."""

    def allow_migrate(self, db: str, app_label: str, **hints: object) -> bool | None:
        return False if app_label in ("auth", "contenttypes") else None
