"""What `rq cron` runs in the tests."""

from rq import cron

from tests.tasks.sample_tasks import add

cron.register(add, "default", args=(40,), interval=1)
