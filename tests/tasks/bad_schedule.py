"""A schedule with a mistake that is found when all of it is there."""

from heori import Cron, Every
from tests.tasks.periodic_tasks import greet

schedule = [Every("1h", greet), Cron("@daily", greet)]
