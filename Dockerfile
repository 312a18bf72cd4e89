# The operator and the CLI in one image without a shell. Build: docker build -t mailcert:0.1.0 .
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --locked --release --package mailcert --bin mailcert \
 && install -D target/release/mailcert /out/mailcert \
 && ln -s mailcert /out/kubectl-mailcert

# glibc and libgcc only; trust anchors are in the binary.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/ /
USER 65532:65532
# HTTP-01 challenges, health, metrics
EXPOSE 8089 8081 9402
ENTRYPOINT ["/mailcert"]
