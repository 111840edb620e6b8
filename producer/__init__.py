"""The producing half: send jobs and get their results.

from producer import Producer

with Producer("redis://localhost") as producer:
    handle = producer.submit(send_mail, "a@example.org", "Hello")
    print(handle.result(timeout=10))
"""

from producer.client import Producer
from producer.errors import JobCanceled, JobFailed, JobNotFound, PayloadTooLarge, QueueFull
from producer.executor import RedisExecutor
from producer.group import Group, GroupProgress, group
from producer.handle import Handle

__all__ = [
    "Group",
    "GroupProgress",
    "Handle",
    "JobCanceled",
    "JobFailed",
    "JobNotFound",
    "PayloadTooLarge",
    "Producer",
    "QueueFull",
    "RedisExecutor",
    "group",
]
