# One image for the splitter and for both backends: `splitter run`, `python -m legacy_backend`, `python -m domain_backend`.
# It runs as nobody in particular, writes only below /var/lib, and needs no shell at run time.
FROM python:3.12.8-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/splitter
ENV PATH=/opt/splitter/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# What it depends on changes seldom: a layer of its own, made from the one list there is.
COPY pyproject.toml ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
      print('\n'.join(p['dependencies'] + p['optional-dependencies']['redis']))" > /tmp/dependencies.txt \
    && pip install -r /tmp/dependencies.txt
COPY README.md ./
COPY splitter splitter
COPY legacy_backend legacy_backend
COPY domain_backend domain_backend
COPY camera_data camera_data
RUN pip install --no-deps .

FROM python:3.12.8-slim-bookworm
LABEL org.opencontainers.image.title="camera-splitter" \
      org.opencontainers.image.description="Moves clients from an old service to its rewrite, a percentage at a time"
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/splitter --shell /usr/sbin/nologin splitter \
    && install -d -o 10001 -g 10001 /var/lib/splitter /var/lib/cameras
COPY --from=build /opt/splitter /opt/splitter
COPY config/splitter.yaml /etc/splitter/splitter.yaml
# A named volume that is mounted here for the first time begins with this file.
COPY --chown=10001:10001 config/cameras.yaml /var/lib/cameras/cameras.yaml
ENV PATH=/opt/splitter/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    SPLITTER_CONFIG=/etc/splitter/splitter.yaml SPLITTER_STATE_URL=file:/var/lib/splitter/rollout.json
USER 10001:10001
WORKDIR /var/lib/splitter
EXPOSE 8000 8090
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8090/api/v1/monitoring/health/ready', timeout=2)"]
STOPSIGNAL SIGTERM
CMD ["splitter", "run"]
