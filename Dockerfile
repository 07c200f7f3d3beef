# fdet on a CPU. For a GPU, give the index of torch's wheels for your CUDA:
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 --tag fdet:cuda .
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS built
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/fdet
ENV PATH=/opt/fdet/bin:$PATH
# torch first, and alone: this layer stays when fdet changes.
RUN pip install --index-url "${TORCH_INDEX}" "torch>=2.7" "torchvision>=0.22"
COPY . /source
RUN pip install /source

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="fdet" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=built /opt/fdet /opt/fdet
# Weights that are downloaded go to the cache, so that they outlive the container.
ENV PATH=/opt/fdet/bin:$PATH \
    HF_HOME=/cache/huggingface \
    TORCH_HOME=/cache/torch \
    MPLCONFIGDIR=/tmp/matplotlib \
    USER=fdet \
    PYTHONUNBUFFERED=1
# Whatever --user says may write there.
RUN useradd --create-home --uid 1000 --user-group fdet \
    && install --directory --mode 1777 /data /cache
# By number, so that Kubernetes can tell that it is not root.
USER 1000:1000
VOLUME ["/data", "/cache"]
WORKDIR /data
ENTRYPOINT ["fdet"]
CMD ["--help"]
