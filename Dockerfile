# syntax=docker/dockerfile:1

# Base images are arguments, so that a builder without a registry can bring its
# own: --build-arg BUILDER=localhost/golang
ARG BUILDER=golang:1.26.6-bookworm

FROM --platform=$BUILDPLATFORM ${BUILDER} AS build
ARG TARGETOS=linux
ARG TARGETARCH
ARG VERSION=dev
ARG REVISION=unknown
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod \
    go mod download
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    GOOS=${TARGETOS} GOARCH=${TARGETARCH} .ci/build /out/anthropic-oauth-proxy

FROM scratch
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="anthropic-oauth-proxy" \
      org.opencontainers.image.description="Transparent proxy from a tailnet to the Claude API that adds the OAuth capability" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/anthropic-oauth-proxy /anthropic-oauth-proxy
USER 1000:1000
EXPOSE 8080 9090
HEALTHCHECK --interval=10s --timeout=5s CMD ["/anthropic-oauth-proxy", "healthcheck"]
ENTRYPOINT ["/anthropic-oauth-proxy"]
CMD ["serve"]
