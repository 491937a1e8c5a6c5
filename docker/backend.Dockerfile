# The backend: web processes, worker and beat are one image with different commands.
# Bases (python, python-build) are named contexts, chosen by `inv build`; see docker/bases.toml.

FROM python-build AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python3.11 -m venv --without-pip /venv
COPY requirements.txt .
# the build's trust is a secret: it is in no layer, and changing it rebuilds nothing
RUN --mount=type=cache,target=/root/.cache/pip,id=bookreader-pip \
    --mount=type=secret,id=ca,target=/run/ca.crt \
    PIP_CERT=/run/ca.crt python3.11 -m pip --python /venv/bin/python install --quiet --no-compile --require-hashes -r requirements.txt
# hashed bytecode and one fixed time say the same every time, and a read-only container starts without compiling
ARG SOURCE_DATE_EPOCH=0
RUN PYTHONHASHSEED=0 python3.11 -m compileall -q --invalidation-mode unchecked-hash /venv/lib \
    && find /venv -exec touch --no-dereference --date=@$SOURCE_DATE_EPOCH {} +

FROM python-build AS code
COPY bookreader /app/bookreader
COPY migrations /app/migrations
COPY alembic.ini /app/
# modes are part of a layer's digest: the same whatever the umask of the checkout
ARG SOURCE_DATE_EPOCH=0
RUN chmod -R u=rwX,go=rX /app \
    && PYTHONHASHSEED=0 python3.11 -m compileall -q --invalidation-mode unchecked-hash /app \
    && find /app -exec touch --no-dereference --date=@$SOURCE_DATE_EPOCH {} +

FROM python
ARG VERSION=dev
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
COPY --from=packages /venv /venv
COPY --from=code /app /app
WORKDIR /app
ENV PATH=/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8000
# exec form, and no shell in between: the server itself receives SIGTERM
CMD ["python", "-m", "bookreader.serve"]
LABEL org.opencontainers.image.title="BookReader backend" \
      org.opencontainers.image.revision=$REVISION \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.created=$CREATED
