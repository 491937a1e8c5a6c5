# Notifications from a host: Apprise, for the nightly backup that fails while nobody is there.
# Bases (python, python-build) are named contexts, chosen by `inv build`; see docker/bases.toml.

FROM python-build AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python3.11 -m venv --without-pip /venv
COPY notify/requirements.txt .
RUN --mount=type=cache,target=/root/.cache/pip,id=bookreader-pip \
    --mount=type=secret,id=ca,target=/run/ca.crt \
    PIP_CERT=/run/ca.crt python3.11 -m pip --python /venv/bin/python install --quiet --no-compile --require-hashes -r requirements.txt
COPY notify/deliver.py /venv/
ARG SOURCE_DATE_EPOCH=0
RUN chmod 644 /venv/deliver.py && find /venv -exec touch --no-dereference --date=@$SOURCE_DATE_EPOCH {} +

FROM python
COPY --from=packages /venv /venv
ENV PATH=/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
CMD ["python", "/venv/deliver.py"]
LABEL org.opencontainers.image.title="BookReader notify"
