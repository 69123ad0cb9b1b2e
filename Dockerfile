# An image that makes films, and a node of a Ray cluster:
#   docker build -t musicvideo . && docker run --rm -v "$PWD/out:/out" musicvideo sh -c 'make demo && cp *.mkv /out'
FROM python:3.11-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends make git ffmpeg sox libsox-fmt-base musescore3 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /musicvideo
COPY . .
# On machines without NVIDIA cards: --build-arg TORCH_INDEX=URL, the index that pytorch.org names for "CPU".
ARG TORCH_INDEX=
RUN python -m musicvideo setup --environment .venv --torch-index "$TORCH_INDEX" --extra cluster \
    && touch .venv/.musicvideo-programs .venv/.musicvideo-sox .venv/.musicvideo-musescore \
    && touch .venv/.musicvideo-packages && touch .venv/.musicvideo-extra-cluster \
    && rm -rf /root/.cache
ENV PATH=/musicvideo/.venv/bin:$PATH
CMD ["make", "demo"]
