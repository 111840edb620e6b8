"""What a consumer's processes say on the one standard error that they share."""

import json
import socket
import subprocess
import sys

import pytest

SPEAK = """
import structlog
from heori_common import logs
logs.configure(as_json={as_json})
for number in range(3):
    structlog.get_logger().warning("said", number=number, long="x" * 1000)
"""


@pytest.mark.parametrize("as_json", [True, False])
def test_a_line_is_written_at_once_so_that_no_other_process_gets_in_between(as_json: bool) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)  # it keeps writes apart
    with ours, theirs:
        program = SPEAK.format(as_json=as_json)
        subprocess.run(
            [sys.executable, "-u", "-c", program], stderr=theirs.fileno(), check=True, timeout=60
        )
        ours.setblocking(False)
        for number in range(3):
            line = ours.recv(1 << 16).decode()
            assert line.endswith("\n")
            assert line.count("\n") == 1
            if as_json:
                assert json.loads(line)["number"] == number
        with pytest.raises(BlockingIOError):
            ours.recv(1)
