"""rq-dashboard on Heori's jobs, for looking only: `docker compose --profile tools up`.

It has no login, and a web page can have a browser on this machine ask it anything. So it answers
only to its own name, and refuses what would change something: that is for `heori dead`, which
knows how often a job was delivered.
"""

import os
from pathlib import Path

from flask import Flask, abort, request
from rq.serializers import DefaultSerializer, JSONSerializer
from rq_dashboard import web

PORT = 9181
CHANGES = "rq_dashboard.requeue_all"  # although it takes a GET


def make_app(address: str, password: str) -> Flask:
    """The application, for a server or its sentinels as HEORI_REDIS_URL names them."""
    app = Flask(__name__)
    app.config.update(
        TRUSTED_HOSTS=["localhost", "127.0.0.1"],
        RQ_DASHBOARD_REDIS_URL=address,
        RQ_DASHBOARD_REDIS_PASSWORD=password,
        RQ_DASHBOARD_REDIS_SENTINEL_PASSWORD=password,
        RQ_DASHBOARD_DISABLE_DELETE=True,
    )

    @app.before_request
    def look_only() -> None:
        if request.method not in {"GET", "HEAD"} or request.endpoint == CHANGES:
            abort(405, description="This dashboard is for looking only.")

    app.register_blueprint(web.blueprint)
    web.setup_rq_connection(app)
    return app


if __name__ == "__main__":
    # It loads some jobs without saying how they are written, and unpickling runs what the sender
    # likes: nothing is unpickled here.
    web.config.serializer = JSONSerializer
    DefaultSerializer.loads = JSONSerializer.loads
    secret = Path(os.environ["HEORI_REDIS_PASSWORD_FILE"]).read_text().strip()
    make_app(os.environ["HEORI_REDIS_URL"], secret).run(host="0.0.0.0", port=PORT)
