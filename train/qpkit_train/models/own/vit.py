"""Plain vision transformers of timm (DINOv2, DINOv3, UNI, Virchow, H-optimus ...) as encoders of dense decoders.

    image ─► transformer ─► tokens after a quarter, half, three quarters and all of its layers
                                 │ resampled and convolved: strides 4, 8, 16, 32
    image ─► convolutions ───────┤ (adapter = "cnn": added, for edges that tokens of 14 or 16 px do not show)
                                 ▼
                              decoder: upernet, fpn or unet of segmentation_models_pytorch ─► classes

A transformer with patches of another size than token_px sees the image resampled: with patches of 14 px at 7/8 of its
size. Positions are interpolated by timm to the size of the image. `model.freeze_encoder` holds all of the transformer
still; `lora_rank` puts small learning matrices beside the linear layers of its attention, which stay outside of
`encoder`, so that published weights fit and freezing leaves them alone.

Source: Li et al. 2022, ViTDet (a pyramid out of one size of tokens); Hu et al. 2021, LoRA; Chen et al. 2022,
ViT-Adapter (convolutions beside the transformer).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from qpkit_train.machine.torchvision_shim import ensure_torchvision
from qpkit_train.models.own import architecture

Decoder = Literal["upernet", "fpn", "unet"]

_STRIDES: Final = (4, 8, 16, 32)
_UNET_CHANNELS: Final = (256, 128, 64, 32, 16)
_STEM_CHANNELS: Final = 64


def _convolved(channels: int, out: int, *, side: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolve, normalise and rectify."""
    return nn.Sequential(
        nn.Conv2d(channels, out, side, stride=stride, padding=side // 2, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
    )


class LowRank(nn.Module):
    """What a linear layer gets added: a product of two thin matrices, 0 at the start.

    Args:
        layer: Stays as it is; its answers become the sum.
        rank: Of the product.
    """

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.narrow = nn.Linear(layer.in_features, rank, bias=False)
        self.widen = nn.Linear(rank, layer.out_features, bias=False)
        nn.init.zeros_(self.widen.weight)
        # A bound method: a copy of the network has hooks of its own.
        layer.register_forward_hook(self.added)

    def added(self, layer: nn.Module, inputs: tuple[Tensor, ...], answer: Tensor) -> Tensor:
        """The answer of the layer and the product."""
        product: Tensor = self.widen(self.narrow(inputs[0]))
        return answer + product


class _Stem(nn.Module):
    """Convolutions over the image: features at strides 4, 8, 16 and 32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Sequential(_convolved(3, _STEM_CHANNELS, stride=2), _convolved(_STEM_CHANNELS, _STEM_CHANNELS))
        self.down = nn.ModuleList(_convolved(_STEM_CHANNELS, _STEM_CHANNELS, stride=2) for _ in _STRIDES)
        self.out = nn.ModuleList(nn.Conv2d(_STEM_CHANNELS, width, 1) for _ in _STRIDES)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(n, 3, h, w) to four of (n, width, h / stride, w / stride)."""
        x = self.first(x)
        found: list[Tensor] = []
        for down, out in zip(self.down, self.out, strict=True):
            x = down(x)
            found.append(out(x))
        return found


class DenseViT(nn.Module):
    """A transformer, a neck that makes a pyramid of its tokens, a decoder.

    Args:
        encoder: Of timm; called, it gives the image and four maps of tokens.
        patch_px: Side of its patches.
        token_px: px of the image for which there is a token.
        width: Channels of the pyramid.
        stem: Beside the transformer, or None.
        low_rank: Beside the linear layers of its attention; may be empty.
        decoder: Of segmentation_models_pytorch.
        head: From the decoder's channels to classes.
    """

    def __init__(
        self, encoder: nn.Module, *, patch_px: int, token_px: int, width: int, stem: nn.Module | None,
        low_rank: nn.ModuleList, decoder: nn.Module, head: nn.Sequential,
    ) -> None:  # fmt: skip
        super().__init__()
        self.encoder, self.low_rank, self.stem = encoder, low_rank, stem
        self.patch_px, self.token_px = patch_px, token_px
        channels = int(encoder.embed_dim)  # type: ignore[arg-type] # every transformer of timm has it
        self.narrow = nn.ModuleList(nn.Conv2d(channels, width, 1) for _ in _STRIDES)
        self.smooth = nn.ModuleList(_convolved(width, width) for _ in _STRIDES)
        self.decoder, self.segmentation_head = decoder, head

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) to (n, classes, h, w), h and w multiples of 32."""
        logits: Tensor = self.segmentation_head(self.decoder(self._pyramid(x)))
        return logits

    def _pyramid(self, x: Tensor) -> list[Tensor]:
        """The image, nothing at stride 2, and features at strides 4 to 32: what decoders of smp take."""
        height, width = x.shape[-2:]
        _, *maps = self.encoder(self._seen(x))
        beside = [None] * len(_STRIDES) if self.stem is None else self.stem(x)
        found = [x, x.new_zeros(len(x), 0, height // 2, width // 2)]
        for tokens, stride, narrow, smooth, more in zip(maps, _STRIDES, self.narrow, self.smooth, beside, strict=True):
            size = (height // stride, width // stride)
            level = F.interpolate(narrow(tokens), size=size, mode="bilinear")
            found.append(smooth(level if more is None else level + more))
        return found

    def _seen(self, x: Tensor) -> Tensor:
        """The image at the size at which its tokens are patches of the transformer."""
        if self.patch_px == self.token_px:
            return x
        size = [side // self.token_px * self.patch_px for side in x.shape[-2:]]
        return F.interpolate(x, size=size, mode="bilinear")


@architecture("vit", has_encoder=True, default_depth=5)
def build_vit(
    classes: int,
    *,
    encoder: str,
    depth: int,
    decoder: Decoder = "upernet",
    width: int = 256,
    token_px: int = 16,
    adapter: Literal["none", "cnn"] = "none",
    lora_rank: int = 0,
    last_layers: int = -1,
    vit: Mapping[str, Any] | None = None,
) -> DenseViT:
    """Build a DenseViT with random weights.

    Args:
        classes: Channels of the answer.
        encoder: "tu-" and timm's name of a plain transformer.
        depth: 5, which is what the pyramid has.
        decoder: What makes an answer of the pyramid.
        width: Channels of the pyramid.
        token_px: px of the image for which there is a token: 8, 16 or 32. Finer ones take more memory.
        adapter: "cnn" puts convolutions beside the transformer.
        lora_rank: Of the matrices beside its attention; 0 for none.
        last_layers: Only so many of its last layers learn; -1 for all.
        vit: What timm is told beside the name, such as {"img_size": 224, "init_values": 1e-5}.

    Raises:
        ValueError: It is no plain transformer, or the sizes make no network.
    """
    if depth != len(_STRIDES) + 1:
        raise ValueError("vit has features of strides 4 to 32 in any case; leave model.encoder_depth out")
    if token_px not in (8, 16, 32) or width < 1 or lora_rank < 0 or last_layers < -1:
        raise ValueError("vit takes a token_px of 8, 16 or 32, width from 1, lora_rank from 0, last_layers from -1")
    if adapter not in ("none", "cnn"):
        raise ValueError(f"vit has no adapter {adapter!r}, only none and cnn")
    body, patch_px = _transformer(encoder, vit or {})
    _hold_still(body, last_layers)
    low_rank = nn.ModuleList(
        LowRank(layer, lora_rank)
        for name, layer in body.named_modules()
        if lora_rank and isinstance(layer, nn.Linear) and name.split(".")[-2:-1] == ["attn"]
    )
    made, channels, factor = _decoder(decoder, width)
    head: list[nn.Module] = [nn.Conv2d(channels, classes, 1)]
    if factor > 1:
        head.append(nn.Upsample(scale_factor=float(factor), mode="bilinear"))
    return DenseViT(
        body, patch_px=patch_px, token_px=token_px, width=width, stem=_Stem(width) if adapter == "cnn" else None,
        low_rank=low_rank, decoder=made, head=nn.Sequential(*head),
    )  # fmt: skip


def _transformer(encoder: str, said: Mapping[str, Any]) -> tuple[nn.Module, int]:
    """A transformer of timm that gives maps when it is called, and the side of its patches."""
    ensure_torchvision()
    import timm
    from timm.layers import SwiGLUPacked

    name = encoder.removeprefix("tu-")
    if name == encoder or not timm.is_model(name.partition(".")[0]):
        raise ValueError(f"vit takes tu-NAME with timm's name of a transformer, not {encoder}")
    named = {"mlp_layer": {"swiglu-packed": SwiGLUPacked}, "act_layer": {"silu": nn.SiLU}}
    options = {key: named.get(key, {}).get(str(value), value) for key, value in said.items()}
    try:
        body: Any = timm.create_model(name, pretrained=False, num_classes=0, dynamic_img_size=True, **options)
    except TypeError as err:
        raise ValueError(f"it is no plain transformer, or has no such option ({err})") from err
    sides = set(getattr(getattr(body, "patch_embed", None), "patch_size", ()))
    if len(sides) != 1 or not hasattr(body, "blocks") or not hasattr(body, "embed_dim"):
        raise ValueError(f"{encoder} is no plain transformer; take it with model.architecture=unet")
    layers = len(body.blocks)
    if layers < len(_STRIDES):
        raise ValueError(f"{encoder} has {layers} layers; at least {len(_STRIDES)} are needed")
    places = [layers * (number + 1) // len(_STRIDES) - 1 for number in range(len(_STRIDES))]
    # Called as other encoders are; its tensors keep timm's names.
    body.forward = partial(_maps, body, places)
    return body, int(sides.pop())


def _maps(body: Any, places: list[int], x: Tensor) -> list[Tensor]:
    """The image and the tokens after the layers at `places`, as encoders of smp give them: (n, channels, h, w) each."""
    return [x, *body.forward_intermediates(x, indices=places, norm=True, intermediates_only=True)]


def _hold_still(body: Any, last_layers: int) -> None:
    """Let only the last layers and the norm after them learn."""
    if last_layers < 0:
        return
    body.requires_grad_(False)
    if last_layers:
        for part in (*list(body.blocks)[-last_layers:], body.norm):
            part.requires_grad_(True)


def _decoder(name: str, width: int) -> tuple[nn.Module, int, int]:
    """A decoder, its channels, and how much finer than it the image is."""
    import segmentation_models_pytorch as smp

    channels = [3, 0, *(width for _ in _STRIDES)]
    if name == "upernet":
        return smp.decoders.upernet.decoder.UPerNetDecoder(channels, decoder_channels=width), width, 4
    if name == "fpn":
        made = smp.decoders.fpn.decoder.FPNDecoder(channels, pyramid_channels=width)
        return made, made.out_channels, 4
    if name == "unet":
        return smp.decoders.unet.decoder.UnetDecoder(channels, list(_UNET_CHANNELS)), _UNET_CHANNELS[-1], 1
    raise ValueError(f"vit has no decoder {name!r}, only upernet, fpn and unet")
