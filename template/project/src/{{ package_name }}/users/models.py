"""The user model."""

from django.contrib.auth.models import AbstractUser


class User(AbstractUser):
    """A user. Add fields here. Replacing Django's own user model later would be difficult."""
