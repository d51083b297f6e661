# A Huzhu node in a container. Build it from a clean checkout, with the wheel made before: `make dist`, then
#   docker build -t huzhu .
#   docker run --rm -v huzhu:/var/lib/huzhu huzhu init --genesis /var/lib/huzhu/genesis.toml
#   docker run -d --name huzhu --stop-timeout 30 -v huzhu:/var/lib/huzhu -p 7040:7040 huzhu
# The volume holds keys, signing record and database: never run two containers on one volume, and never copy it while
# the node runs (`huzhu keys export` moves a validator, docs/operate.md).
FROM python:3.11-slim-bookworm AS build
COPY constraints.txt dist/*.whl /build/
RUN python -m venv /opt/huzhu \
 && PIP_CONSTRAINT=/build/constraints.txt /opt/huzhu/bin/pip install --no-cache-dir --disable-pip-version-check /build/*.whl

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 7040 --home-dir /var/lib/huzhu --shell /usr/sbin/nologin huzhu \
 && install -d -o huzhu -g huzhu -m 0700 /var/lib/huzhu
COPY --from=build /opt/huzhu /opt/huzhu
ENV PATH=/opt/huzhu/bin:$PATH HUZHU_HOME=/var/lib/huzhu HUZHU_P2P_LISTEN=0.0.0.0:7040 PYTHONDONTWRITEBYTECODE=1
USER huzhu
VOLUME /var/lib/huzhu
EXPOSE 7040
# The API stays on the container's loopback: `docker exec huzhu huzhu status`.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7050/livez', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["huzhu"]
CMD ["start"]
