"""What tests of an application use; its fixtures are in `heori.pytest_plugin`, which pytest finds.

from heori.testing import inline

with inline() as sent:
    place_order(17)
sent.assert_sent(send_mail, "a@example.org", "Order 17")
"""

from heori.testing.consumer import MODELS, RunningConsumer
from heori.testing.sent import RecordedJob, Recording, inline, recording

__all__ = ["MODELS", "RecordedJob", "Recording", "RunningConsumer", "inline", "recording"]
