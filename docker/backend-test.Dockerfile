# The backend's own tests, in the Python that it runs on. Built and run by tests/integration/test_app_suites.py.

FROM python-build
WORKDIR /app
# the base has no bytecode of the standard library, and the tests start some hundred processes
RUN python3.11 -m compileall -q "$(python3.11 -c 'import os; print(os.path.dirname(os.__file__))')" || true
RUN python3.11 -m venv --without-pip /venv
COPY requirements-test.txt requirements.txt ./
RUN --mount=type=cache,target=/root/.cache/pip,id=bookreader-pip \
    --mount=type=secret,id=ca,target=/run/ca.crt \
    PIP_CERT=/run/ca.crt python3.11 -m pip --python /venv/bin/python install --quiet --require-hashes -r requirements-test.txt
COPY . .
RUN chown -R 10001:10001 /app
ENV PATH=/venv/bin:/usr/bin:/bin PYTHONUNBUFFERED=1
USER 10001:10001
CMD ["python", "-m", "pytest", "-p", "no:cacheprovider"]
