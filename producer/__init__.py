"""The producing half: send jobs and get their results.

from producer import Producer

with Producer("redis://localhost") as producer:
    handle = producer.submit(send_mail, "a@example.org", "Hello")
    print(handle.result(timeout=10))
"""

from producer.client import PayloadTooLarge, Producer
from producer.handle import Handle, JobFailed, JobNotFound

__all__ = ["Handle", "JobFailed", "JobNotFound", "PayloadTooLarge", "Producer"]
