FROM python-build AS packages
RUN python3.11 -m venv --without-pip /venv
COPY requirements.txt .
RUN --mount=type=cache,target=/root/.cache/pip,id=django-pip --mount=type=secret,id=ca,target=/run/ca.crt \
    PIP_CERT=/run/ca.crt PIP_DISABLE_PIP_VERSION_CHECK=1 \
    python3.11 -m pip --python /venv/bin/python install --quiet --require-hashes -r requirements.txt

# a new volume takes over the owner of /site
RUN mkdir /site

FROM python
COPY --from=packages --chown=10001:10001 /site /site
COPY --from=packages /venv /venv
COPY . /app
WORKDIR /app
ENV PATH=/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
CMD ["gunicorn", "--bind=0.0.0.0:8000", "--workers=2", "--worker-tmp-dir=/tmp", "shop.wsgi"]
