# Both programs in a container. From this folder:
#   docker build -t hmdb51-lsvit .
#   docker run --rm -v "$PWD/work:/work" --user "$(id -u):$(id -g)" hmdb51-lsvit hmdb-prep synth
# For an NVIDIA GPU: build with --build-arg CONSTRAINTS=constraints-cuda.txt, run with --gpus all. docs/machines.md says more.
FROM python:3.12-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends ffmpeg unar && rm -rf /var/lib/apt/lists/*

ARG CONSTRAINTS=constraints-cpu.txt
# An index of CPU builds of torch: without it pip brings CUDA's libraries along, some gigabytes.
ARG PIP_EXTRA_INDEX_URL=
# Some of: export, wandb, trackio, ray, serve
ARG EXTRAS=export
COPY . /src
RUN pip install --no-cache-dir -c /src/$CONSTRAINTS "/src[$EXTRAS]"

# HOME is for caches, which any user may write; the last word lets a GPU decode as well as compute.
ENV HOME=/tmp NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
USER 1000:1000
WORKDIR /work
VOLUME /work
CMD ["hmdb-prep", "doctor"]
