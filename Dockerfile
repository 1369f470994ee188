# One image for every role: `docker run -v tributary:/data -p 8080:8080 -p 8081:8081 tributary` starts all of them in one
# process on the embedded bus and store; compose.yaml starts a fleet.

FROM rust:1.95-slim-bookworm AS builder
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin tributary \
    && cp target/release/tributary /usr/local/bin/tributary

FROM debian:bookworm-slim
# The certificates of those we call: providers and integrators.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --home-dir /data --create-home --shell /usr/sbin/nologin tributary
COPY --from=builder /usr/local/bin/tributary /usr/local/bin/tributary
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/tributary/

# Inside a container the loopback address reaches nobody; what is published is decided by whoever runs it.
ENV TRIBUTARY_DATA__DIR=/data \
    TRIBUTARY_INGRESS__LISTEN=0.0.0.0:8080 \
    TRIBUTARY_API__LISTEN=0.0.0.0:8081 \
    TRIBUTARY_OPERATIONS__LISTEN=0.0.0.0:9090
USER tributary
WORKDIR /data
VOLUME /data
EXPOSE 8080 8081 9090
ENTRYPOINT ["tributary"]
CMD ["up"]
