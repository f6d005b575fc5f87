# The injector. Build from the project's folder: docker build --tag mtls-injector .
# `scripts/image injector` makes the same image without a container engine.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /source
# Cargo reads every member of the workspace, so the whole source is copied.
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    host=$(rustc --version --verbose | sed -n 's/^host: //p') \
    && flags=$(scripts/rustflags mtls-injector) \
    && RUSTFLAGS=$flags cargo build --release --locked --target "$host" \
        --package mtls-injector --bin mtls-injector \
    && cp "target/$host/release/mtls-injector" /mtls-injector

FROM scratch
LABEL org.opencontainers.image.title="mtls-injector" \
    org.opencontainers.image.description="A mutating admission webhook that gives a pod mutual TLS for one annotation" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.source="https://github.com/mtls-injector/mtls-injector"
COPY --from=build /mtls-injector /usr/local/bin/mtls-injector
ENV PATH=/usr/local/bin:/usr/sbin
WORKDIR /
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/mtls-injector"]
