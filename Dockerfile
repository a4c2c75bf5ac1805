# The worker, the monitor and every other command of fraudstream; what it needs comes from requirements.lock alone.
FROM python:3.11.14-slim-bookworm AS build
COPY deploy/uv.txt /build/
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: -r /build/uv.txt
ENV UV_NO_CACHE=1 UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
WORKDIR /build
COPY pyproject.toml requirements.lock ./
COPY deploy/image_requirements.py deploy/
# The lock also pins what only tests need. Nothing is compiled: there is no compiler here either.
RUN python deploy/image_requirements.py > needed.txt \
    && uv venv /opt/fraudstream \
    && uv pip install --python /opt/fraudstream --only-binary :all: --require-hashes --requirements needed.txt
COPY . .
# hatchling comes from the lock too.
RUN uv venv /opt/hatch \
    && python deploy/image_requirements.py hatchling > hatch.txt \
    && uv pip install --python /opt/hatch --only-binary :all: --require-hashes --requirements hatch.txt \
    && /opt/hatch/bin/python -m hatchling build -t wheel \
    && uv pip install --python /opt/fraudstream --no-deps dist/*.whl

FROM python:3.11.14-slim-bookworm
ARG VERSION=dev
ARG REVISION=unknown
ARG SOURCE=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="fraudstream" \
      org.opencontainers.image.description="A streaming fraud-scoring worker on Kafka: every card transaction decided exactly once." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="python:3.11.14-slim-bookworm"
RUN groupadd --system --gid 10001 fraudstream \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin fraudstream
COPY --from=build /opt/fraudstream /opt/fraudstream
# The root may be read-only: only /tmp is ever written to, and nobody outside would hear a probe on loopback.
ENV PATH=/opt/fraudstream/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    FRAUDSTREAM_METRICS_HOST=0.0.0.0 \
    FRAUDSTREAM_METRICS_PORT=9464 \
    FRAUDSTREAM_DRIFT_METRICS_PORT=9564 \
    FRAUDSTREAM_LOG_FORMAT=json
USER 10001:10001
WORKDIR /tmp
# Where the root is read-only and nobody mounts anything; on Fargate a volume has the owner and rights of this one.
VOLUME /tmp
EXPOSE 9464 9564
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=4 CMD ["python", "-m", "deploy.probe", "livez"]
ENTRYPOINT ["fraudstream"]
CMD ["score"]
