# The server alone: no PyTorch. Build: docker build -t carspotter . ; run: see docs/serving.md.
# No image engine was at hand when this was written: it has been read and linted, not built.
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
RUN python -m venv /opt/carspotter \
    && /opt/carspotter/bin/pip install --no-cache-dir --constraint constraints.txt ".[serve]"

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home carspotter
COPY --from=build /opt/carspotter /opt/carspotter
USER 10001
# The root is read-only (--read-only): uploads and NiceGUI's files go to /tmp, which is mounted.
ENV PATH=/opt/carspotter/bin:$PATH PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["carspotter", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["/models/cars"]
