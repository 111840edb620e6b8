"""Tells an init system how far a consumer is, as systemd's services of Type=notify do."""

import contextlib
import os
import socket

READY, STOPPING = "READY=1", "STOPPING=1"  # sd_notify(3)


def notify(state: str) -> None:
    """Tell it, where one has said that it listens; where it does not, nothing is lost."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # in the kernel's own namespace
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener,
    ):
        listener.setblocking(False)
        listener.sendto(state.encode(), address)
