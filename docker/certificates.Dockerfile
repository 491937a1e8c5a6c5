# Certificates of the edge: certbot, and a program that keeps what it obtains, or what a person has, in a volume.
# Bases (python, python-build) are named contexts, chosen by `inv build`; see docker/bases.toml.

FROM python-build AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python3.11 -m venv --without-pip /venv
COPY certificates/requirements.txt .
RUN --mount=type=cache,target=/root/.cache/pip,id=bookreader-pip \
    --mount=type=secret,id=ca,target=/run/ca.crt \
    PIP_CERT=/run/ca.crt python3.11 -m pip --python /venv/bin/python install --quiet --no-compile --require-hashes -r requirements.txt
# certbot takes 3 s to start otherwise
RUN PYTHONHASHSEED=0 python3.11 -m compileall -q --invalidation-mode unchecked-hash /venv/lib
COPY certificates/*.py /venv/
COPY certificates/ops_dns.dist-info /venv/ops_dns.dist-info
ARG SOURCE_DATE_EPOCH=0
# a new volume takes over the owner of /certificates
RUN mkdir -p /out/certificates && chown 10001:10001 /out/certificates && chmod 644 /venv/*.py /venv/ops_dns.dist-info/* \
    && find /venv /out -exec touch --no-dereference --date=@$SOURCE_DATE_EPOCH {} +

FROM python
COPY --from=packages /venv /venv
COPY --from=packages /out/ /
ENV PATH=/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
ENTRYPOINT ["python", "/venv/certificates.py"]
CMD ["status"]
LABEL org.opencontainers.image.title="BookReader certificates"
