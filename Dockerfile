# The builder has pip, the build backend and a C compiler, for the request path is compiled; the image has Python and one virtual
# environment without pip.
FROM python:3.13 AS builder
WORKDIR /src
COPY requirements/native.txt requirements/runtime.txt requirements/
RUN python -m pip install --no-cache-dir --require-hashes -r requirements/native.txt \
    && python -m venv --without-pip /opt/scaler \
    && python -m pip --python /opt/scaler/bin/python install --no-cache-dir --require-hashes -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY scaler scaler
RUN HATCH_BUILD_HOOK_ENABLE_MYPYC=true python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist . \
    && python -m pip --python /opt/scaler/bin/python install --no-cache-dir --no-deps dist/*.whl

FROM python:3.13-slim
COPY --from=builder /opt/scaler /opt/scaler
ENV PATH=/opt/scaler/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# The working directory is all that is written to: the store and the pause file. Anything else may be mounted read-only.
WORKDIR /var/lib/scaler
RUN chown 65532:65532 /var/lib/scaler
VOLUME /var/lib/scaler
USER 65532:65532
EXPOSE 8080 9090
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["scaler", "healthcheck", "--config", "/etc/scaler/config.yaml"]
ENTRYPOINT ["scaler"]
CMD ["run", "--config", "/etc/scaler/config.yaml"]
