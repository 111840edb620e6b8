"""rq-dashboard on Heori's jobs, for looking only: `docker compose --profile tools up`.

It has no login, and a web page can have a browser on this machine ask it anything. So it answers
only to its own name, and refuses what would change something: that is for `heori dead`, which
knows how often a job was delivered. Its pages show no button for that.
"""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask, abort, request
from jinja2 import Environment, FileSystemLoader
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import DefaultSerializer, JSONSerializer
from rq_dashboard import web

PORT = 9181
CHANGES = "rq_dashboard.requeue_all"  # although it takes a GET
BUTTONS = re.compile(
    r"""<(a|button)\b[^>]*(?:requeue|compact)-[^>]*>.*?</\1>"""
    r"""|<th class="narrow">Actions</th>|<td class="actions narrow">.*?</td>""",
    re.DOTALL,
)
RAW = re.compile(r"<%=(?! \$\('<div/>'\)\.text\()")  # in a page: what is shown as HTML


class Pages(FileSystemLoader):
    """The templates, without buttons; what a job holds is text in them, and no HTML or script."""

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str, Callable[[], bool] | None]:
        source, path, is_fresh = super().get_source(environment, template)
        shown = RAW.sub("<%-", BUTTONS.sub("", source))
        return shown.replace("'{{ queue.name }}'", "{{ queue.name|tojson }}"), path, is_fresh


def make_app(address: str, password: str) -> Flask:
    """The application, for a server or its sentinels as HEORI_REDIS_URL names them."""
    app = Flask(web.__name__)  # whose static files are those of rq-dashboard, as its pages expect
    app.jinja_loader = Pages(Path(app.root_path, "templates"))
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

    @app.errorhandler(NoSuchJobError)
    def no_job(_: NoSuchJobError) -> tuple[str, int]:
        return "There is no such job; it may have expired.", 404

    app.register_blueprint(web.blueprint)
    web.setup_rq_connection(app)
    return app


def read_json(data: bytes) -> Any:
    """Unpickling runs what the sender likes, so nothing is unpickled here."""
    try:
        return json.loads(data)
    except ValueError:
        return "(it is no JSON, and is not read here)"


if __name__ == "__main__":
    web.config.serializer = JSONSerializer
    # It loads some jobs without saying how they are written.
    JSONSerializer.loads, DefaultSerializer.loads = read_json, read_json
    Job.get_call_string = lambda job: job.description
    dependencies = Job.dependency_ids.fget  # text since rq 3, and rq-dashboard expects bytes
    Job.dependency_ids = property(lambda job: [each.encode() for each in dependencies(job)])
    secret = Path(os.environ["HEORI_REDIS_PASSWORD_FILE"]).read_text().strip()
    app = make_app(os.environ["HEORI_REDIS_URL"], secret)
    app.run(host="0.0.0.0", port=int(os.environ.get("PORT", PORT)))
