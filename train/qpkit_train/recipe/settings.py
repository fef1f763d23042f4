"""What can be set in a recipe, section by section: defaults, bounds, what each setting means and what goes with it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from qpkit.errors import ConfigError
from qpkit.settings import FRACTION, Range
from qpkit_train.augment.transforms import transforms
from qpkit_train.clicks.discs import CHANNELS
from qpkit_train.losses.sums import parse_terms
from qpkit_train.losses.terms import loss_terms
from qpkit_train.recipe.plan_settings import NNUNET as NNUNET
from qpkit_train.recipe.plan_settings import PLANNED as PLANNED
from qpkit_train.recipe.plan_settings import PlanConfig as PlanConfig
from qpkit_train.recipe.prompt_settings import PromptConfig
from qpkit_train.section import Section, section_of

RUN_PREFIX: Final = "run:"
"""How weights begin that come from another run; its folder follows."""

_MOST_FACTOR: Final = 1024
"""A sample's widest image shows less than so many times its surroundings."""

TILE_CLASSIFIER: Final = "tile-classifier"
"""The architecture that answers once for a whole tile."""


class ModelConfig(Section, frozen=True, kw_only=True):
    """The network.

    Args:
        architecture: One of qpkit's own (vanilla-unet, dense-unet, transunet, nnunet, vit, context-stack, hooknet,
            multires, tile-classifier), or of segmentation_models_pytorch in any case: unet, unetplusplus, fpn,
            deeplabv3plus, segformer ...
        encoder: Name of an encoder, "resnet34"; timm's come as "tu-<name>"; "none" for architectures without one.
        encoder_weights: "none", the name of published weights ("imagenet"), a local .safetensors or .pth file, a folder
            with model.safetensors and config.json, "hub:OWNER/NAME" for a repository on huggingface.co, or "run:PATH"
            for the encoder of another run's best epoch, of qpkit train, train-classifier or pretrain.
        encoder_depth: Number of times the encoder halves the image, 3..5; 0 takes the architecture's own default.
        freeze_encoder: The encoder stays as it starts: no gradients, and its batch norms keep their statistics.
        weights: "run:PATH" starts from the whole model of another run; "" does not. A head for other classes is
            made anew.
        dropout: Fraction of the logits that is set to 0 in training, after everything else, 0..1.
        options: Further keywords of the architecture, such as decoder_channels.
        context: For networks that see surroundings: how many times as much of the slide each further image shows,
            around the same centre and in as many px; [4] for tiles at 0.5 um/px gives a second image at 2.
        mpp: The same as um/px of all images, the tiles' own first: [0.5, 2]. Tiles have to have the first one.
        click_px: Radius of the discs in which the network sees clicks, in two more channels; 0 for none that takes any.
    """

    architecture: str = "unet"
    encoder: str = "resnet34"
    encoder_weights: str = "imagenet"
    encoder_depth: int = 0
    freeze_encoder: bool = False
    weights: str = ""
    dropout: Annotated[float, Range(at_least=0, below=1)] = 0.0
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    context: list[int] = msgspec.field(default_factory=list)
    mpp: list[float] = msgspec.field(default_factory=list)
    click_px: Annotated[int, Range(at_least=0, at_most=32)] = 0

    def faults(self) -> Iterator[str]:
        """Name what no network has."""
        yield from self._context_faults()
        if self.encoder_depth not in (0, 3, 4, 5):
            yield "model.encoder_depth has to be 3, 4, 5 or 0 (default)"
        if self.weights and not is_run(self.weights):
            yield f"model.weights = {self.weights!r} has to be run:PATH, the run folder of qpkit train to start from"

    @property
    def factors(self) -> tuple[int, ...]:
        """How many times a tile's surroundings each image of a sample shows; (1,) where only the tile is seen."""
        return 1, *(self.context or (round(mpp / self.mpp[0]) for mpp in self.mpp[1:]))

    @property
    def channels(self) -> int:
        """Of the network's input: those of all images, and of clicks if it takes them."""
        return 3 * len(self.factors) + CHANNELS * bool(self.click_px)

    def _context_faults(self) -> Iterator[str]:
        if self.context and self.mpp:
            yield "model.context and model.mpp say the same; leave one of them out"
        elif any(later <= before for before, later in itertools.pairwise((1, *self.context))):
            yield f"model.context = {self.context} has to rise from above 1, such as [4] or [4, 16]"
        elif self.context and self.context[-1] >= _MOST_FACTOR:
            yield f"model.context = {self.context} has to stay below {_MOST_FACTOR}"
        elif self.mpp and not _are_multiples(self.mpp):
            yield f"model.mpp = {self.mpp} has to rise by whole factors of the first, such as [0.5, 2]"


def _are_multiples(mpp: Sequence[float]) -> bool:
    """Whether um/px rise, each a whole multiple of the first to 1 %."""
    if len(mpp) < 2 or mpp[0] <= 0 or any(b <= a for a, b in itertools.pairwise(mpp)):
        return False
    factors = [value / mpp[0] for value in mpp]
    return all(factor < _MOST_FACTOR and abs(factor / round(factor) - 1) < 0.01 for factor in factors)


class DataConfig(Section, frozen=True, kw_only=True):
    """How tiles are read, cropped and normalised.

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

    batch_size: Annotated[int, Range(at_least=1)] = 8
    crop_px: Annotated[int, Range(at_least=0)] = 0
    free_crops: bool = False
    normalization: Literal["imagenet", "unit", "signed", "dataset"] = "imagenet"
    greyscale: bool = False
    workers: Annotated[int, Range(at_least=0)] = 2
    cache_mb: Annotated[int, Range(at_least=0)] = 1024

    def faults(self) -> Iterator[str]:
        """Name crops that cannot be cut."""
        if 0 < self.crop_px < 32:
            yield "data.crop_px has to be 0 (whole tile) or at least 32"
        if self.free_crops and self.crop_px <= 0:
            yield "data.free_crops needs data.crop_px"


BESIDE: Final = ("background", "rejected")
"""What a ratio by class may name beside the classes."""


class SamplerConfig(Section, frozen=True, kw_only=True):
    """How tiles are drawn for an epoch.

    Args:
        ratio: [positive, negative] tiles, or a weight for each class by name ("background" = no class in the tile;
            weight 0 leaves a class out; "rejected" = places where a reviewer deleted a prediction, where tiles were
            exported with --reviewed).
        balance: "slide" or "group" (what the split kept together: patients) lets each count alike among the tiles of
            one kind, however many tiles it has; "none" counts tiles.
        area_power: Tiles count by the pixels of what they are drawn for, to this power: 0 counts them alike, 0.5 shows
            a tile full of lesion twice as often as one with a quarter of it. Every positive tile is shown anyway.
        origins: How much oftener tiles are drawn by where their labels come from, where tiles were exported with
            --reviewed or --with-predictions: "human" (people drew it), "reviewed" (accepted predictions, and what was
            found empty) and "predicted" (nobody has looked at it). All count 1 if nothing is said; {human=2} counts
            what people drew twice. Every positive tile is shown anyway.
        hard_negatives: Fraction of the tiles without a class that is drawn by the model's own errors in the epoch
            before, 0..1.
        foreground: Fraction of the draws, 0..1, that are tiles with a class and crops that hold a pixel of it, as
            nnU-Net's foreground oversampling (0.33); the others are any labelled tile and any crop. It takes the place
            of the ratio; 0 leaves that as it is.
    """

    ratio: list[float] | dict[str, float] = msgspec.field(default_factory=lambda: [1.0, 3.0])
    balance: Literal["none", "slide", "group"] = "none"
    area_power: Annotated[float, Range(at_least=0)] = 0.0
    origins: dict[str, float] = msgspec.field(default_factory=dict)
    hard_negatives: Annotated[float, FRACTION] = 0.0
    foreground: Annotated[float, FRACTION] = 0.0

    def faults(self) -> Iterator[str]:
        """Name a ratio that draws nothing."""
        if self.foreground and self.hard_negatives:
            yield "sampler.foreground does not go with sampler.hard_negatives; set one of them to 0"
        weights = list(self.ratio.values()) if isinstance(self.ratio, dict) else self.ratio
        if any(weight < 0 or weight > 1000 for weight in weights):
            yield f"sampler.ratio = {self.ratio} has a weight outside 0..1000"
        if isinstance(self.ratio, list) and (len(self.ratio) != 2 or self.ratio[0] <= 0):
            yield (
                f"sampler.ratio = {self.ratio} has to be [positive, negative], the first above 0, or a table by class "
                "name"
            )
        for name, weight in self.origins.items():
            if name not in ("human", "reviewed", "predicted") or not 0 < weight <= 1000:
                yield f"sampler.origins = {self.origins} takes human, reviewed, predicted: each above 0, at most 1000"
                break
        if isinstance(self.ratio, dict) and not any(w > 0 for name, w in self.ratio.items() if name not in BESIDE):
            yield "sampler.ratio has no class with a weight above 0"


class LossTerms(Section, frozen=True, kw_only=True):
    """The loss: a sum of terms, and the weights of classes.

    Args:
        terms: Sum of terms, each with a factor if wanted: "ce+dice", "0.5*ce + dice + 0.3*focal". "bce" takes each
            class against the rest, with a sigmoid, in all terms; without it they take a softmax.
        class_weights: "none", "balanced" (inverse to the pixels an epoch shows), "dynamic" (1 - fraction of the class
            in the batch) or a weight by class name.
        branch_weights: Static weights of what branches answer by themselves, the finest first, beside 1 for the
            network's answer: of hooknet those of all wider images, of multires tile and surroundings; [] counts the
            network's answer alone.
    """

    terms: str = "ce+dice"
    class_weights: Literal["none", "balanced", "dynamic"] | dict[str, float] = "none"
    branch_weights: list[float] = msgspec.field(default_factory=list)

    def faults(self) -> Iterator[str]:
        """Name weights and sums of terms that make no sense."""
        if any(weight < 0 for weight in self.branch_weights):
            yield "loss.branch_weights must not be negative"
        if isinstance(self.class_weights, dict) and any(weight < 0 for weight in self.class_weights.values()):
            yield "loss.class_weights must not be negative"
        try:
            parse_terms(self.terms)
        except ConfigError as err:
            yield str(err)


if TYPE_CHECKING:

    class AugmentConfig(Section, frozen=True, kw_only=True):
        """Augmentation of every training crop; see `qpkit_train.augment.transforms` for its settings.

        A strength of 0 switches a transform off. A setting that ends in _p is the probability, 0..1, that a crop gets
        it. px are those of the tile.
        """

    class LossConfig(LossTerms, frozen=True, kw_only=True):
        """The loss; see `qpkit_train.losses.terms` for the settings of the terms."""

else:  # the same, with the settings that the files of the two folders register
    AugmentConfig = section_of("AugmentConfig", Section, transforms(), module=__name__)
    LossConfig = section_of("LossConfig", LossTerms, loss_terms().values(), module=__name__)


class OptimConfig(Section, frozen=True, kw_only=True):
    """The optimizer, and the learning rate of each step.

    Args:
        name: "adamw", "adam" or "sgd".
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
        final_factor: Where "cosine" ends, as a fraction of lr.
        warmup_steps: Steps over which lr rises from zero.
        clip_norm: Largest norm of the gradient; 0 does not clip.
        accumulate: Batches whose gradients are added up before a step; the last step of an epoch may have fewer.
        ema: Fraction of the old that a moving average of the weights keeps at each step, such as 0.999; 0 keeps none.
            With it the average is what is measured and kept.
        momentum: Of "sgd".
        nesterov: With "sgd", whether the gradient is taken where the momentum leads.
    """

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: Annotated[float, Range(above=0)] = 5e-4
    weight_decay: Annotated[float, Range(at_least=0)] = 1e-4
    epochs: Annotated[int, Range(at_least=1)] = 30
    steps_per_epoch: Annotated[int, Range(at_least=0)] = 0
    schedule: Literal["constant", "cosine", "poly", "step", "cyclic", "plateau"] = "cosine"
    milestones: list[int] = msgspec.field(default_factory=list)
    gamma: Annotated[float, Range(above=0, at_most=1)] = 0.1
    cycle_epochs: Annotated[int, Range(at_least=1)] = 5
    poly_power: Annotated[float, Range(above=0)] = 0.9
    plateau_patience: Annotated[int, Range(at_least=0)] = 3
    min_lr: Annotated[float, Range(at_least=0)] = 0.0
    final_factor: Annotated[float, FRACTION] = 0.01
    warmup_steps: Annotated[int, Range(at_least=0)] = 0
    clip_norm: Annotated[float, Range(at_least=0)] = 0.0
    accumulate: Annotated[int, Range(at_least=1)] = 1
    ema: Annotated[float, Range(at_least=0, below=1)] = 0.0
    momentum: Annotated[float, Range(at_least=0, below=1)] = 0.9
    nesterov: bool = False

    def faults(self) -> Iterator[str]:
        """Name a schedule that cannot be followed."""
        if self.nesterov and (self.name != "sgd" or not self.momentum):
            yield "optim.nesterov is for optim.name sgd with a momentum above 0"
        if self.schedule == "step" and not self.milestones:
            yield "optim.schedule step needs optim.milestones"
        if self.min_lr > self.lr:
            yield "optim.min_lr has to be in 0..optim.lr"


class EarlyStoppingConfig(Section, frozen=True, kw_only=True):
    """How the best epoch is chosen, and when training stops before its last epoch.

    Args:
        metric: Of the validation tiles: mean "dice" or "iou" over the classes without background, or "loss".
        patience: Epochs without a better metric; 0 never stops early.
        min_delta: What counts as better.
        tiles: Validation tiles that are measured after an epoch, at most: an even choice with as large a fraction that
            shows a class, one at least; 0 for all.
    """

    metric: Literal["dice", "iou", "loss"] = "dice"
    patience: Annotated[int, Range(at_least=0)] = 10
    min_delta: Annotated[float, Range(at_least=0)] = 1e-4
    tiles: Annotated[int, Range(at_least=0)] = 0


class SemiConfig(Section, frozen=True, kw_only=True):
    """Learning from unlabelled tiles in the same run: a mean teacher labels them, as UniMatch V2 does.

    Args:
        weight: Of the loss on unlabelled tiles beside that on labelled ones; 0 leaves all of this out.
        unlabelled_from: Training tiles count as unlabelled if at least this fraction of them is ignore, 0..1; what is
            annotated in them is learned as it is.
        batch_size: Unlabelled tiles per step; 0 for as many as data.batch_size.
        threshold: Probability from which what the teacher says of a pixel is learned.
        ema: Fraction of the old weights that the teacher keeps at each step. To measure and keep the teacher itself,
            set optim.ema to the same.
        cutmix_p: Probability that a strong view has a rectangle of another tile in it.
        feature_dropout: Fraction of the encoder's channels that one of the two strong views has to do without.
        strength: Of the colour changes of strong views; 1 is brightness, contrast and saturation +- 0.5, hue +- 0.1
            and blur of up to 2 px, or what [augment] says where that is more.
    """

    weight: Annotated[float, Range(at_least=0)] = 0.0
    unlabelled_from: Annotated[float, FRACTION] = 0.5
    batch_size: Annotated[int, Range(at_least=0)] = 0
    threshold: Annotated[float, FRACTION] = 0.95
    ema: Annotated[float, Range(above=0, below=1)] = 0.996
    cutmix_p: Annotated[float, FRACTION] = 0.5
    feature_dropout: Annotated[float, Range(at_least=0, below=1)] = 0.5
    strength: Annotated[float, Range(at_least=0, at_most=2)] = 1.0


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
        deterministic: On a GPU, only computations that give the same bits each time; slower. A CPU has no others.
        seed: Of everything random.
    """

    name: str
    purpose: str = ""
    source: str = ""
    positive: list[str] = msgspec.field(default_factory=list)
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    sampler: SamplerConfig = SamplerConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    semi: SemiConfig = SemiConfig()
    prompts: PromptConfig = PromptConfig()
    plan: PlanConfig = PlanConfig()
    precision: Precision = "auto"
    compile: bool = False
    deterministic: bool = False
    seed: Annotated[int, Range(at_least=0)] = 0

    def faults(self) -> Iterator[str]:
        """Name what goes with no section by itself."""
        if not self.name.strip():
            yield "name must not be blank"
        if self.semi.weight and self.classifies_tiles:
            yield "semi.weight is for masks; a tile classifier has no mean teacher"
        if self.semi.weight and len(self.model.factors) > 1:
            yield "semi.weight is for networks that see one image; leave out model.context and model.mpp"
        if self.plan.decides and self.model.architecture.lower() != NNUNET:
            yield f"plan.decides is for model.architecture {NNUNET}, whose memory is known"
        channels = self.model.options.get("channels")
        if self.plan.decides and PLANNED[2] not in self.plan.decides and not _are_channels(channels):
            yield f"model.options.channels = {str(channels)[:40]} has to be 2 to 6 whole numbers, each at least 1"
        if self.positive and not self.classifies_tiles:
            yield "positive is for tile classifiers (qpkit train-classifier); the classes of masks are the label map's"

    @property
    def classifies_tiles(self) -> bool:
        """Whether the question is put to whole tiles (qpkit train-classifier) instead of to every pixel."""
        return self.model.architecture.lower() == TILE_CLASSIFIER


def _are_channels(value: Any) -> bool:
    """Whether a plan can count with it; the network itself checks the rest of its options."""
    is_list = isinstance(value, list) and 2 <= len(value) <= 6
    return is_list and all(isinstance(width, int) and width >= 1 for width in value)


def is_run(weights: str) -> bool:
    """Say whether weights are named by the run that they come from."""
    return weights.startswith(RUN_PREFIX)
