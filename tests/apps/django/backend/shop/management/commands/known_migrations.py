"""`python manage.py known_migrations`: what x-deploy.migrations runs."""

from django.core.management.base import BaseCommand
from django.db.migrations.loader import MigrationLoader


class Command(BaseCommand):
    """Print the migrations of this code, a line each; `compatible = True` in one says that older code works on it."""

    def handle(self, **options: object) -> None:
        """Read the files; no database is asked."""
        for (app, name), migration in sorted(MigrationLoader(None).disk_migrations.items()):
            mark = " compatible" if getattr(migration, "compatible", False) else ""
            self.stdout.write(f"{app}.{name}{mark}")
