"""What visitors order."""

from django.db import models


class Order(models.Model):
    """One order."""

    title = models.CharField(max_length=100)
