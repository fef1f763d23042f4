# qpkit with training, on the CPU:          docker build -t qpkit .
# With CUDA (see pytorch.org for names):    docker build -t qpkit --build-arg TORCH=cu126 .
# The version, as .git is not copied:       --build-arg VERSION="$(git describe --tags | sed 's/^v//; s/-.*//')"
#
#     docker run --rm -v "$PWD:/work" qpkit export project -o tiles
#     docker run --rm --gpus all -v "$PWD:/work" qpkit train tiles -o run
FROM python:3.11-slim AS build
ARG TORCH=cpu
ARG VERSION=0.0.0
WORKDIR /source
COPY . .
RUN SETUPTOOLS_SCM_PRETEND_VERSION_FOR_QPKIT="$VERSION" TORCH_INDEX="https://download.pytorch.org/whl/$TORCH" \
        .ci/install /opt/qpkit '.[train,onnx,vector,zarr]'
# The same steps as in .ci/package: an image in which they fail is not built.
RUN /opt/qpkit/bin/python samples/make_samples.py /tmp/study && /opt/qpkit/bin/python .ci/smoke.py /tmp/study

FROM python:3.11-slim
COPY --from=build /opt/qpkit /opt/qpkit
# Caches are written to HOME, by whatever user the container is started as (--user).
ENV PATH="/opt/qpkit/bin:$PATH" HOME=/tmp
RUN useradd --uid 1000 --create-home pathologist
USER 1000
WORKDIR /work
ENTRYPOINT ["qpkit"]
CMD ["--help"]
