# The service and its page, without torch. From the root of the repository:
#   docker build -f containers/serve.Dockerfile -t jvcr-serve .
#   docker run --rm -p 127.0.0.1:8000:8000 -e JVCR_TOKEN jvcr-serve
FROM python:3.13-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/jvcr \
    && /opt/jvcr/bin/pip install -c constraints.txt ".[serve,heif]" \
    && /opt/jvcr/bin/pip uninstall -y pip

FROM python:3.13-slim-bookworm
COPY --from=build /opt/jvcr /opt/jvcr
ENV PATH=/opt/jvcr/bin:$PATH
USER 65532:65532
EXPOSE 8000
HEALTHCHECK --start-period=10s \
    CMD ["python3", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=5)"]
ENTRYPOINT ["jvcr", "serve", "--host", "0.0.0.0", "--port", "8000"]
