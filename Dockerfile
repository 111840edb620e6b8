# One image for producers and consumers: Heori with its dependencies, by hash. To run tasks of your
# own, mount their folder at /tasks and set HEORI_TASKS=mytasks, or build on the image, as
# examples/Dockerfile does. Without a GIL: docker build --target free-threaded -t heori .
ARG PYTHON=python:3.13-slim-trixie

FROM ${PYTHON} AS build
WORKDIR /src
RUN python -m venv /opt/heori
COPY requirements.lock ./
RUN /opt/heori/bin/pip install --no-cache-dir --quiet --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY common ./common
COPY consumer ./consumer
COPY heori ./heori
COPY producer ./producer
# What only builds stays here.
ARG BUILDERS="editables hatchling packaging pathspec pluggy trove-classifiers"
# Python adds /tasks to sys.path after the folder that this file is in, where all is installed:
# a module of the tasks called redis or common hides none of these.
ARG SITE="import sysconfig; print(sysconfig.get_path('purelib'))"
RUN /opt/heori/bin/pip install --no-cache-dir --quiet --no-build-isolation --no-deps . \
    && echo /tasks > "$(/opt/heori/bin/python -c "$SITE")/tasks.pth" \
    && /opt/heori/bin/pip uninstall --quiet --yes $BUILDERS pip

# The same on a Python without a GIL, of which there is no official image: uv brings its own, and
# checks its digest.
FROM build AS build-free-threaded
ARG FREE_THREADED=3.14t
ENV UV_PYTHON_INSTALL_DIR=/opt/python \
    UV_SYSTEM_CERTS=1
RUN pip install --no-cache-dir --quiet uv==0.13.9 \
    && uv python install --no-bin --no-cache $FREE_THREADED \
    && $(uv python find --managed-python $FREE_THREADED) -m venv --clear /opt/heori \
    && /opt/heori/bin/pip install --no-cache-dir --quiet --require-hashes -r requirements.lock \
    && /opt/heori/bin/pip install --no-cache-dir --quiet --no-build-isolation --no-deps . \
    && echo /tasks > "$(/opt/heori/bin/python -c "$SITE")/tasks.pth" \
    && /opt/heori/bin/pip uninstall --quiet --yes $BUILDERS pip

FROM ${PYTHON} AS runtime
LABEL org.opencontainers.image.title="Heori" \
      org.opencontainers.image.description="A distributed producer-consumer service over Redis, in RQ's job format" \
      org.opencontainers.image.licenses="MIT"
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /app --shell /usr/sbin/nologin heori
ENV PATH=/opt/heori/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HEORI_METRICS_HOST=0.0.0.0 \
    HEORI_METRICS_PORT=9100
# Tasks are imported from here and from /tasks, after all that is installed.
WORKDIR /app
USER heori
EXPOSE 9100
# Ready: Redis answers, and all worker processes are there.
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s CMD ["python", "-ISc", "import os; from http.client import HTTPConnection as C; c = C('127.0.0.1', int(os.environ['HEORI_METRICS_PORT']), timeout=3); c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["heori"]
CMD ["consume"]

FROM runtime AS free-threaded
COPY --from=build-free-threaded /opt/python /opt/python
COPY --from=build-free-threaded /opt/heori /opt/heori

FROM runtime AS heori
COPY --from=build /opt/heori /opt/heori
