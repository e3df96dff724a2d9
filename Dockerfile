# The four programs, one target each. Needs BuildKit:
#
#   docker buildx build --target cmp-sidecar            -t cmp-sidecar .
#   docker buildx build --target applicationset-generator -t applicationset-generator .
#   docker buildx build --target notifications-hook     -t notifications-hook .
#   docker buildx build --target propagator             -t propagator .
#
# Each image holds one static program, certificate authorities and a user
# list: no shell, no package manager. The only image that is pulled is the
# compiler's. Pin it, so that a build can be repeated:
#
#   docker buildx imagetools inspect docker.io/library/golang:1.26   # says its digest
#   --build-arg GO_IMAGE=docker.io/library/golang:1.26@sha256:<digest>
#
# For images that are the same byte for byte, whoever builds them, also give
#
#   --build-arg REVISION=$(git rev-parse HEAD) --build-arg VERSION=$(git describe --tags --always)
#   --build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
#   --output type=image,name=…,rewrite-timestamp=true
#
# Other architectures: --platform linux/amd64,linux/arm64. The compiler runs on
# the builder's own and needs no emulation.

ARG GO_IMAGE=docker.io/library/golang:1.26

FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS compiler
WORKDIR /src
# The caches are mounts: they outlive the build and are in no layer. The
# program's version comes from .git, by way of Go's build information.
ENV CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS="-trimpath -buildvcs=auto" \
    GOMODCACHE=/cache/mod GOCACHE=/cache/build
ARG TARGETOS TARGETARCH
ENV GOOS=${TARGETOS} GOARCH=${TARGETARCH}

# What the programs need beside themselves.
FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS files
RUN mkdir -p /rootfs/etc/ssl/certs /rootfs/tmp \
 && chmod 1777 /rootfs/tmp \
 && cp /etc/ssl/certs/ca-certificates.crt /rootfs/etc/ssl/certs/ \
 && printf '%s\n' \
      'root:x:0:0:root:/:/sbin/nologin' \
      'argocd:x:999:999:Argo CD:/:/sbin/nologin' \
      'nonroot:x:65532:65532:nonroot:/:/sbin/nologin' > /rootfs/etc/passwd \
 && printf '%s\n' 'root:x:0:' 'argocd:x:999:' 'nonroot:x:65532:' > /rootfs/etc/group

FROM compiler AS build-cmp-sidecar
RUN --mount=type=bind,target=/src --mount=type=cache,target=/cache/mod --mount=type=cache,target=/cache/build \
    go build -ldflags="-s -w" -o /out/ ./cmp-sidecar

FROM compiler AS build-applicationset-generator
RUN --mount=type=bind,target=/src --mount=type=cache,target=/cache/mod --mount=type=cache,target=/cache/build \
    go build -ldflags="-s -w" -o /out/ ./applicationset-generator

FROM compiler AS build-notifications-hook
RUN --mount=type=bind,target=/src --mount=type=cache,target=/cache/mod --mount=type=cache,target=/cache/build \
    go build -ldflags="-s -w" -o /out/ ./notifications-hook

FROM compiler AS build-propagator
RUN --mount=type=bind,target=/src --mount=type=cache,target=/cache/mod --mount=type=cache,target=/cache/build \
    go build -ldflags="-s -w" -o /out/ ./propagator

FROM scratch AS base
COPY --from=files /rootfs/ /
ENV PATH=/usr/local/bin
ARG REVISION=unknown
ARG VERSION=devel
LABEL org.opencontainers.image.source="https://github.com/fleeting-taas/propagator" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.version="${VERSION}"

# The CLI, for CI jobs. "propagator demo" needs git, which is not in here.
FROM base AS propagator
LABEL org.opencontainers.image.title="propagator"
COPY --from=build-propagator /out/propagator /usr/local/bin/propagator
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/propagator"]

FROM base AS applicationset-generator
LABEL org.opencontainers.image.title="applicationset-generator"
COPY --from=build-applicationset-generator /out/applicationset-generator /usr/local/bin/applicationset-generator
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/applicationset-generator"]

FROM base AS notifications-hook
LABEL org.opencontainers.image.title="notifications-hook"
COPY --from=build-notifications-hook /out/notifications-hook /usr/local/bin/notifications-hook
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/notifications-hook"]

# Runs in repo-server's pod with repo-server's user, because both use one
# socket. plugin.yaml is where argocd-cmp-server looks for it, for those who
# start that instead.
FROM base AS cmp-sidecar
LABEL org.opencontainers.image.title="cmp-sidecar"
COPY --from=build-cmp-sidecar /out/cmp-sidecar /usr/local/bin/cmp-sidecar
COPY cmp-sidecar/plugin.yaml /home/argocd/cmp-server/config/plugin.yaml
USER 999:999
EXPOSE 8087
ENTRYPOINT ["/usr/local/bin/cmp-sidecar"]
