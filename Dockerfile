# The platform: everything that `neo-polystore` needs against servers, in a read-only root.
FROM python:3.13.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
COPY schemas ./schemas
COPY migrations ./migrations
COPY mongo ./mongo
COPY timescale ./timescale
RUN python -m venv /opt/neo-polystore \
    && /opt/neo-polystore/bin/pip install '.[archive,mongo,clickhouse,elasticsearch,tantivy,otel]' \
    && /opt/neo-polystore/bin/neo-polystore --version

FROM python:3.13.11-slim-bookworm
# PostgreSQL's own programs, of the servers' version and with TLS: backups and `db validate` need them
RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-common ca-certificates \
    && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y \
    && apt-get install --yes --no-install-recommends postgresql-client-18 \
    && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 10001 neo \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin neo \
    && install -d -o neo -g neo -m 0700 /var/lib/neo-polystore /backup
COPY --from=build /opt/neo-polystore /opt/neo-polystore
ENV PATH=/opt/neo-polystore/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NEO_PROFILE=server \
    NEO_DATA_DIR=/var/lib/neo-polystore \
    NEO_EMBEDDED_PG_BIN=/usr/lib/postgresql/18/bin
USER 10001:10001
WORKDIR /tmp
VOLUME ["/var/lib/neo-polystore"]
EXPOSE 8003
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=6 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8003/ready', timeout=5)"]
ENTRYPOINT ["neo-polystore"]
CMD ["serve"]
