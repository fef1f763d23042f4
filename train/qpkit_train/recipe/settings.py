"""What can be set in a recipe, section by section, and what each setting means. Knows neither files nor rules."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

TILE_CLASSIFIER: Final = "tile-classifier"
"""The architecture that answers once for a whole tile."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every table of a recipe has in common."""


class ModelConfig(Section, frozen=True, kw_only=True):
    """The network.

    Args:
        architecture: One of qpkit's own (dense-unet, tile-classifier; see qpkit_train.models.own), or of
            segmentation_models_pytorch in any case: unet, unetplusplus, fpn, deeplabv3plus, segformer ...
        encoder: Name of an encoder, "resnet34"; timm's come as "tu-<name>"; "none" for architectures without one.
        encoder_weights: "none", the name of published weights ("imagenet"), a local .safetensors or .pth file, or
            "run:PATH" for the encoder of another run's best epoch, of qpkit train or of qpkit train-classifier.
        encoder_depth: Number of times the encoder halves the image, 3..5; 0 takes the architecture's own default.
        freeze_encoder: The encoder stays as it starts: no gradients, and its batch norms keep their statistics.
        weights: "run:PATH" starts from the whole model of another run; "" does not. A head for other classes is
            made anew.
        dropout: Share of the logits that is set to 0 in training, after everything else, 0..1.
        options: Further keywords of the architecture, such as decoder_channels.
    """

    architecture: str = "unet"
    encoder: str = "resnet34"
    encoder_weights: str = "imagenet"
    encoder_depth: int = 0
    freeze_encoder: bool = False
    weights: str = ""
    dropout: float = 0.0
    options: dict[str, Any] = {}


class DataConfig(Section, frozen=True, kw_only=True):
    """How tiles reach the network.

    Args:
        batch_size: Tiles or crops per step.
        crop_px: Side of the random crop out of each tile; 0 takes the whole tile.
        free_crops: Crops may reach beyond their tile, so that the same lesion is seen in changing surroundings; for
            tiles that are read from the slides (qpkit export --store none).
        normalization: "imagenet" (mean and standard deviation of ImageNet), "unit" (0..1), "signed" (-1..1) or
            "dataset" (mean and standard deviation of the labelled pixels of the training tiles).
        greyscale: The network sees luma (ITU-R BT.601) in all three channels; also when it predicts.
        workers: Threads that read tiles ahead; 0 reads between steps.
        cache_mb: Decoded tiles kept in memory, MB.
    """

    batch_size: int = 8
    crop_px: int = 0
    free_crops: bool = False
    normalization: Literal["imagenet", "unit", "signed", "dataset"] = "imagenet"
    greyscale: bool = False
    workers: int = 2
    cache_mb: int = 1024


class SamplerConfig(Section, frozen=True, kw_only=True):
    """What a batch shows.

    Args:
        ratio: [positive, negative] tiles, or a share for each class by name ("background" = no class in the tile;
            share 0 leaves a class out).
        balance: "slide" or "group" (what the split kept together: patients) lets each count alike among the tiles of
            one kind, however many tiles it has; "none" counts tiles.
        area_power: Tiles count by the pixels of what they are drawn for, to this power: 0 counts them alike, 0.5 shows
            a tile full of lesion twice as often as one with a quarter of it. Every positive tile is shown anyway.
        hard_negatives: Share of the tiles without a class that is drawn by the model's own errors in the epoch
            before, 0..1.
    """

    ratio: list[float] | dict[str, float] = msgspec.field(default_factory=lambda: [1.0, 3.0])
    balance: Literal["none", "slide", "group"] = "none"
    area_power: float = 0.0
    hard_negatives: float = 0.0


class AugmentConfig(Section, frozen=True, kw_only=True):
    """Random changes of every training crop.

    A strength of 0 switches a change off. A setting that ends in _p is the chance, 0..1, that a crop gets the change.
    px are those of the tile.

    Args:
        hflip, vflip: Probabilities, 0..1.
        rot90: Turn by a random multiple of 90 degrees.
        rotate: Turn by up to so many degrees either way, 0..180.
        scale: Magnify or shrink by up to 1 + scale, 0..1.
        shear: Slant by up to so many degrees, 0..45.
        shift: Move by up to this share of the side in x and in y, 0..0.5.
        affine_p: Of rotate, scale, shear and shift together.
        grid: Each of 5 x 5 cells of a grid becomes wider and higher by factors from 1 +- grid, 0..0.9.
        elastic_px: Smooth bends that move no pixel by more than this in x or in y, at most elastic_cell_px / 4.
        elastic_cell_px: Distance of the points between which it bends.
        brightness, contrast, saturation: Factors are drawn from 1 +- strength, 0..1.
        hue: Turns of the colour circle, drawn from +- strength, 0..0.5.
        stain: Haematoxylin, eosin and DAB densities are scaled by 1 +- strength, 0..1.
        nuclei: Saturation and value (of HSV) of what is blue and, apart from it, of what is brown are shifted by +-
            strength, 0..1. For immunohistochemistry: beside eosin nuclei are not told from stroma by their hue.
        gamma: Exponents from 1 / (1 + gamma) to 1 + gamma, 0..3.
        clahe: Contrast-limited adaptive histogram equalisation of the luma in 8 x 8 cells; clip limits (how much
            steeper contrasts may become) from 1, which changes nothing, to this, 1..10.
        blur_px: Standard deviations of a Gaussian blur from 0 to this, 0..8.
        noise: Standard deviations of normal noise from 0 to this, 0..1 (the whole range of a channel).
    """

    hflip: float = 0.5
    vflip: float = 0.5
    rot90: bool = True
    rotate: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    affine_p: float = 0.5
    grid: float = 0.0
    grid_p: float = 0.5
    elastic_px: float = 0.0
    elastic_cell_px: float = 64.0
    elastic_p: float = 0.5
    brightness: float = 0.15
    contrast: float = 0.15
    saturation: float = 0.15
    hue: float = 0.02
    stain: float = 0.0
    nuclei: float = 0.0
    nuclei_p: float = 0.5
    gamma: float = 0.0
    gamma_p: float = 0.5
    clahe: float = 0.0
    clahe_p: float = 0.5
    blur_px: float = 0.0
    blur_p: float = 0.5
    noise: float = 0.0
    noise_p: float = 0.5


class LossConfig(Section, frozen=True, kw_only=True):
    """What is made small.

    Args:
        terms: Sum of terms, each with a factor if wanted: "ce+dice", "0.5*ce + dice + 0.3*focal". There are bce, ce,
            dice, focal, lovasz, ohem and tversky. "bce" takes each class against the rest, with a sigmoid, in all
            terms; without it they take a softmax.
        class_weights: "none", "balanced" (inverse to the pixels an epoch shows), "dynamic" (1 - share of the class in
            the batch) or a weight by class name.
        focal_gamma: How much less a pixel counts the surer the model is of it.
        ohem_share: Share of the known pixels, the hardest ones, that "ohem" looks at, 0..1.
        tversky_alpha, tversky_beta: What false positives and false negatives cost in "tversky"; 0.5 both is Dice.
    """

    terms: str = "ce+dice"
    class_weights: Literal["none", "balanced", "dynamic"] | dict[str, float] = "none"
    focal_gamma: float = 2.0
    ohem_share: float = 0.25
    tversky_alpha: float = 0.3
    tversky_beta: float = 0.7


class OptimConfig(Section, frozen=True, kw_only=True):
    """How it is made small.

    Args:
        name: "adamw", "adam" or "sgd" (momentum 0.9).
        lr: Learning rate after the warm-up.
        weight_decay: As torch's optimizer means it.
        epochs: At most; early stopping may end sooner.
        steps_per_epoch: 0 for as many as show every positive tile once.
        schedule: "constant", "cosine" (to lr * final_factor), "poly" (lr * (1 - progress) ** poly_power), "step" (times
            gamma at each of `milestones`), "cyclic" (times gamma after each epoch, from lr again every `cycle_epochs`)
            or "plateau" (times gamma after `plateau_patience` epochs without a better metric).
        milestones: Epochs, counted from 1, after which "step" multiplies.
        gamma: Factor of "step", "cyclic" and "plateau".
        cycle_epochs: Length of a cycle of "cyclic".
        poly_power: Of "poly".
        plateau_patience: Epochs.
        min_lr: Floor of "plateau".
        final_factor: Where "cosine" ends, as a share of lr.
        warmup_steps: Steps over which lr rises from zero.
        clip_norm: Largest norm of the gradient; 0 does not clip.
        accumulate: Batches whose gradients are added up before a step; the last step of an epoch may have fewer.
        ema: Share of the old that a moving average of the weights keeps at each step, such as 0.999; 0 keeps none.
            With it the average is what is measured and kept.
    """

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = 5e-4
    weight_decay: float = 1e-4
    epochs: int = 30
    steps_per_epoch: int = 0
    schedule: Literal["constant", "cosine", "poly", "step", "cyclic", "plateau"] = "cosine"
    milestones: list[int] = []
    gamma: float = 0.1
    cycle_epochs: int = 5
    poly_power: float = 0.9
    plateau_patience: int = 3
    min_lr: float = 0.0
    final_factor: float = 0.01
    warmup_steps: int = 0
    clip_norm: float = 0.0
    accumulate: int = 1
    ema: float = 0.0


class EarlyStoppingConfig(Section, frozen=True, kw_only=True):
    """When the best epoch is kept and when there is no point in going on.

    Args:
        metric: Of the validation tiles: mean "dice" or "iou" over the classes without background, or "loss".
        patience: Epochs without a better metric; 0 never stops early.
        min_delta: What counts as better.
        tiles: Validation tiles that are measured after an epoch, at most: an even choice with as large a share that
            shows a class, one at least; 0 for all.
    """

    metric: Literal["dice", "iou", "loss"] = "dice"
    patience: int = 10
    min_delta: float = 1e-4
    tiles: int = 0


Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


class Recipe(Section, frozen=True, kw_only=True):
    """Everything that decides a training but the tiles.

    Args:
        name: What runs and predictions are called after.
        purpose: What it is for, in a few words; does not change the run's id.
        source: Where its settings come from; does not change the run's id.
        positive: For a tile classifier: names of the classes that make a tile positive; empty for any class.
        precision: "auto" takes what the device is fast at; otherwise as Lightning Fabric names it.
        compile: Run the network through torch.compile: slow to start, then faster on most GPUs.
        seed: Of everything random.
    """

    name: str
    purpose: str = ""
    source: str = ""
    positive: list[str] = []
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    sampler: SamplerConfig = SamplerConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    precision: Precision = "auto"
    compile: bool = False
    seed: int = 0

    @property
    def asks_tiles(self) -> bool:
        """Whether the question is put to whole tiles (qpkit train-classifier) instead of to every pixel."""
        return self.model.architecture.lower() == TILE_CLASSIFIER
