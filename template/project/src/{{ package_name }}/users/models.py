"""Who may log in."""

from django.contrib.auth.models import AbstractUser


class User(AbstractUser):
    """A user. Add fields here: Django's own model could not be replaced later."""
