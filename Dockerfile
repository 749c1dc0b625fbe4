# One manager of a Roundtable cluster with its node. Made by `make image`, which builds the static programs on the host:
# nothing is pulled, compiled or downloaded here.
#
# As it is, the node is simnodeos, a stand-in for trying things out. For a real one name an image that has nodeos:
#
#	make image BASE=my-nodeos:1.2.2        and node.path = "/usr/bin/nodeos" in config.toml
ARG BASE=empty

# What a program needs of a system: CA certificates, a user, a folder for temporary files.
FROM scratch AS empty
ADD bin/image/system.tar /

FROM ${BASE}
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="roundtable" \
      org.opencontainers.image.description="A cluster of block producing nodes that never signs a slot twice" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The programs, the member's home /var/lib/roundtable, and /homes/m1 to m7, where `roundtable init --dir /homes` lays out the
# homes of several: an empty volume that is mounted on one of them takes over its owner, 65532.
ADD bin/image/programs.tar /
USER 65532:65532
ENV HOME=/var/lib/roundtable
WORKDIR /var/lib/roundtable
# API, raft, gossip (TCP and UDP), the chain's p2p
EXPOSE 9080 9070 9060 9060/udp 9876
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 CMD ["/usr/bin/roundtable", "healthcheck", "--home", "/var/lib/roundtable"]
ENTRYPOINT ["/usr/bin/roundtable"]
CMD ["run", "--home", "/var/lib/roundtable"]
