# memengine in a container, built by README's own commands.
#
#   docker build -t memengine .
#   docker run --rm memengine --help
#   docker run --rm --gpus all -v "$PWD:/data" -w /data memengine train config.yaml
#
# With CUDA: --build-arg BASE=nvidia/cuda:13.0.1-devel-ubuntu24.04
ARG BASE=debian:12
FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN make program PORTABLE=1 && cmake --install build --prefix /usr/local && rm -rf build memengine
WORKDIR /work
ENTRYPOINT ["memengine"]
CMD ["--help"]
