# syntax=docker/dockerfile:1
# The proxy, and nothing that only development needs: the embedded server is not in this image.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/mdb
COPY requirements-run.lock ./
RUN /opt/mdb/bin/pip install --no-cache-dir --require-hashes -r requirements-run.lock
COPY pyproject.toml README.md ./
COPY engine engine
COPY proxy proxy
RUN /opt/mdb/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11-slim-bookworm
ENV PATH=/opt/mdb/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    MDB_PROXY_LISTEN=0.0.0.0:27018 \
    MDB_PROXY_MANIFESTS=/etc/mdb/manifests \
    MDB_PROXY_LOG_FORMAT=json
COPY --from=build /opt/mdb /opt/mdb
USER 10001:10001
EXPOSE 27018
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s \
    CMD ["mdb-proxy", "health", "--listen", "127.0.0.1:27018"]
ENTRYPOINT ["mdb-proxy"]
CMD ["serve", "--apply-indexes"]
