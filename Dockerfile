FROM python:3.11-slim
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY domain domain
COPY feeds feeds
COPY adapters adapters
COPY migrations migrations
COPY simulators simulators
COPY runtime runtime
RUN pip install --no-cache-dir -c constraints.txt .
RUN useradd --create-home roundtrip
USER roundtrip
ENV ROUNDTRIP_HOME=/home/roundtrip/data
ENTRYPOINT ["roundtrip"]
