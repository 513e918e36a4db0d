"""What the shop sells."""

from django.db import models


class Item(models.Model):
    name = models.CharField(max_length=80)
    price_cents = models.IntegerField()

    def __str__(self):
        return self.name
