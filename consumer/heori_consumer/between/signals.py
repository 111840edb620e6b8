"""The signals that a terminal, an init system or a person sends to all processes of a consumer.

The supervisor alone obeys them. systemd, `timeout` and Ctrl-C send them to everyone at once, and
what the workers do then is for the supervisor to say.
"""

import signal

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
