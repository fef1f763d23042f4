"""How the documented commands become tests: what stands for their names, what makes them short, what is only parsed."""

from __future__ import annotations

from typing import Final

PREPARED: Final = """
export study -o tiles --labels labels.toml --split metadata:Split
train tiles -o run
predict run study -o predictions --probabilities
import-predictions predictions study
pretrain tiles -o pretrained
project hand-out study -o readers --readers Anna,Bert --overlap 50%
convert study all --to halo
export study -o tiles-2 --split metadata:Split --reviewed
convert study slide.geojson --entry patient_D.tif
export-model run -o model.onnx
"""
"""The commands whose results are there before a block of a page runs, as if an earlier page had been read."""

COPIES: Final = {"run": ("fold-1", "fold-2", "fold-3"), "predictions": ("predictions-1", "predictions-2")}
"""Runs and predictions that pages have beside the one."""

NAMES: Final = {
    "project.qpproj": "study/project.qpproj",
    "project": "study",
    "/data/study/project.qpproj": "study/project.qpproj",
    "/data/study/tiles": "tiles",
    "moved/tiles": "tiles",
    "/data/study/run": "new-run",
    "/data/study/fold1": "tiles",
    "/data/study/run1": "new-run",
    "/data": "study",
    "tumour": "Tumor",
    "sampler.ratio={Tumor=2,Stroma=1,background=1}": "sampler.ratio={Tumor=2,background=1}",
    "sampler.ratio={Tumor=2,Stroma=1,background=1,rejected=1}": 'sampler.ratio={Tumor=2,"Immune cells"=0,rejected=1}',
    "P4 test.svs": "patient_D.tif",
    "P4 test (re-scan).svs": "patient_D.tif",
    "patient D.svs": "patient_D.tif",
    "P1.svs": "patient_A.tif",
    "bcss-unet,bcss-transunet,bcss-dense-unet,bcss-nnunet,bcss-unet-resnet101": "unet-resnet18,unet-resnet34",
    "unet-resnet34,tiger-fpn-resnet34,bcss-segformer": "unet-resnet18,unet-resnet34",
    "comparison/bcss-unet": "comparison/unet-resnet18",
    "new_slides/": "study/slides",
    "new-slides/": "study/slides",
    "folds/unet-resnet18": "run",
    "folds/unet-resnet18/predictions": "predictions",
    "slides": "study/slides",
    "embedded": "none",  # the slides of the study have no profile
    "pictures-of-the-other-scanner": "data/images",
    "slide.svs": "study/slides/patient_D.tif",
    "slide.tif": "study/slides/patient_D.tif",
    "slide.annotations": "all/patient_D.tif.annotations",
    "Stain": "Patient",
    "Scanner": "Split",
    "4000,2500,3000,2000": "400,250,300,200",
    "2400": "240",
}
"""What stands in the sample study for names and places of the pages."""

SHORT: Final = (
    "optim.epochs=1", "optim.steps_per_epoch=1", "data.batch_size=2", "data.workers=0", "data.crop_px=64",
    "precision=32-true", "early_stopping.patience=0",
)  # fmt: skip
TINY: Final = (
    "model.encoder=resnet18", "model.encoder_depth=3", "model.options.decoder_channels=[32,16,8]",
)  # fmt: skip
"""Settings of every training; those of the network where a command does not choose one."""

ADDED: Final = {
    "qpkit export ": "--mpp 2 --tile-size 128 --workers 1",
    "qpkit split ": "--folds 2",
    "qpkit init ": "--overwrite",
    "qpkit cross-validate ": "--folds 3 --halo 32",
    "qpkit pretrain ": "--epochs 1 --batch-size 8 --crop-px 64 --local-px 32 --local-crops 2",
    "qpkit pretrain project": "--mpp 2 --tile-px 128",
    "qpkit propose project.qpproj --method": "--mpp 4",
    "unsegarmanet": "--epochs 1",
    "-o predictions": "--tile-size 256 --halo 16",
    "qpkit predict run project": "--where Split=test",
    "--with fold-2": "--within Region*",
    "qpkit train-style ": "--steps 2",
    "qpkit simulate ": "--mpp 2 --tile-size 128 --rounds 1 --strategy suggest --steps 2 --region-um 100 --n 1",
    "--n 10": "--region-um 100",
    "--n 4": "--region-um 100",
    "--area 3%": "--region-um 100",
    "--minutes 60": "--region-um 100",
}
"""What is added to every command in which the text stands; the last of two options counts."""

OTHER_WORDS: Final[dict[str, dict[str, str]]] = {
    "qpkit predict folder ": {"folder": "run"},
    "qpkit cross-validate ": {"unet-resnet18,unet-resnet34": "unet-resnet18"},
    "qpkit run ": {"study.toml": "short.toml"},
    "qpkit import-tiles data -o tiles --instances": {"data": "numbered"},
    "qpkit import-tiles data -o tiles --images": {"data": "hospital"},
    'qpkit import-tiles data -o tiles --group-pattern "^(TCGA': {"data": "tcga"},
    'qpkit import-tiles data -o tiles --group-pattern "(?P<split>': {"data": "split-by-name"},
    "qpkit train tiles -o run --set semi.weight": {"tiles": "tiles-2"},
    "qpkit edit study --map": {"Proposed: 1=Stroma": "Tumor=Lesion", "Proposed: 2=Tumor": "Immune cells=Lymphocytes"},
    "qpkit evaluate cells project.qpproj --instances": {"Nucleus": "Tumor"},
}
"""What else stands for names in commands that begin so."""

_DASK: Final = "needs a Dask cluster; tests/workflows and tests/train start one"
_GPUS: Final = "needs several GPUs"

ONLY_PARSED: Final[dict[str, str]] = {
    "qpkit export project.qpproj -o tiles --scheduler": _DASK,
    "qpkit predict run project.qpproj -o predictions --scheduler": _DASK,
    "qpkit predict run project.qpproj -o predictions --devices": _GPUS,
    "qpkit train tiles -o run --devices 4": _GPUS,
    "qpkit convert slide.ndpi.ndpa slide.geojson --image": "needs an NDPI slide; tests/formats has its numbers",
    "qpkit info CMU-1-Small-Region-dicom/": "needs that slide; tests/slides reads it from the shared data",
    'qpkit compare project.qpproj --by "qpkit reviewer"': "needs objects of two reviewers; tests/workflows has them",
    "qpkit train tiles -o run --set model.architecture=vit": "needs the weights of UNI, a large network",
    "qpkit export-model run --for bioimageio": "bioimageio.spec leaves files open, which fails a test; "
    "tests/train/publishing runs it",
    "qpkit convert study/project.qpproj out --to spatialdata": "needs spatialdata, whose pandas is older than ours",
    "qpkit predict hf:OWNER/NAME": "needs huggingface.co; tests/train/publishing makes up an answer",
    "qpkit predict sam:FOLDER": "needs the weights of SAM; tests/train/inference makes up small ones",
}
"""Starts of commands that cannot run in a test, each with the reason; their words and bounds are checked."""
