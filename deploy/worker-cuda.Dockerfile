# A worker for the lane `cuda`: PyTorch's default build brings the CUDA libraries; the host brings the driver and the container toolkit.
FROM python:3.12-slim
WORKDIR /app
COPY constraints.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt torch==2.14.1 torchvision==0.29.1
COPY pyproject.toml README.md LICENSE manage.py ./
COPY detection_core detection_core
COPY webapp webapp
COPY workers workers
COPY deploy deploy
RUN pip install --no-cache-dir --constraint constraints.txt --editable '.[web,ml]' \
    && useradd --system --uid 10001 paretobox && mkdir /state && chown paretobox /state
USER paretobox
CMD ["celery", "-A", "workers.celery", "worker", "-P", "threads", "--concurrency", "2", "--without-mingle", "--without-gossip"]
