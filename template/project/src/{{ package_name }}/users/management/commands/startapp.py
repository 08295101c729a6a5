"""`manage.py startapp NAME`: Django's own command, for apps in this project's package.

Django would put the app beside `src`, where neither the image nor the tests look for it.
"""

from pathlib import Path
from typing import Any

from django.core.management.commands import startapp

PACKAGE = Path(__file__).parents[3]


class Command(startapp.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        if options["directory"]:
            super().handle(**options)
            return
        name = options["name"]
        folder = PACKAGE / name
        super().handle(**options | {"directory": str(folder)})
        config = folder / "apps.py"
        config.write_text(config.read_text().replace(f"'{name}'", f'"{PACKAGE.name}.{name}"'))
        # Tests are in the folder `tests` of the project.
        (folder / "tests.py").unlink()
        self.stdout.write(f'Next, add "{PACKAGE.name}.{name}" to INSTALLED_APPS in settings.py.')
