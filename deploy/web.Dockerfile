# The site, without PyTorch. Build from the repository's root: docker build -f deploy/web.Dockerfile .
FROM python:3.12-slim
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE manage.py ./
COPY detection_core detection_core
COPY webapp webapp
COPY workers workers
COPY deploy deploy
RUN pip install --no-cache-dir --constraint constraints.txt --editable '.[web]' \
    && useradd --system --uid 10001 paretobox && mkdir /state && chown paretobox /state
USER paretobox
EXPOSE 8000
CMD ["uvicorn", "webapp.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--timeout-graceful-shutdown", "3", "--no-access-log"]
