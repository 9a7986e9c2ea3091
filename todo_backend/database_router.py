class NoAuthTables:
    """Keeps the tables of Django's own users and content types out of every database: users live in Better Auth."""

    def allow_migrate(self, db: str, app_label: str, **hints: object) -> bool | None:
        return False if app_label in ("auth", "contenttypes") else None
