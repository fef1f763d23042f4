"""Published vision transformers by name: how timm builds them, where their weights are, and what their licences allow.

Licences and sizes are those that their pages and users state; nothing was fetched to check them. The pages decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

HUB_PREFIX: Final = "hub:"
"""How weights begin that are named by their repository on huggingface.co; OWNER/NAME follows."""

Access = Literal["open", "gated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundation:
    """A published transformer.

    Args:
        name: What people call it.
        encoder: model.encoder.
        weights: model.encoder_weights where there is a network.
        vit: model.options.vit.
        millions: Parameters.
        access: "gated" if its page has to be asked first.
        licence: Its name.
        forbids: What the licence does not allow; "" for nothing that matters here.
    """

    name: str
    encoder: str
    weights: str
    vit: Mapping[str, Any] = field(default_factory=dict)
    millions: float
    access: Access
    licence: str
    forbids: str = ""

    @property
    def repository(self) -> str:
        """OWNER/NAME on huggingface.co; "" where timm knows it."""
        return self.weights.removeprefix(HUB_PREFIX) if self.weights.startswith(HUB_PREFIX) else ""


_NC: Final = "commercial use, and passing on changed weights"
_SCALED: Final = {"img_size": 224, "init_values": 1e-5}
_VIRCHOW: Final = {**_SCALED, "mlp_ratio": 5.3375, "mlp_layer": "swiglu-packed", "act_layer": "silu"}

FOUNDATIONS: Final = (
    Foundation(
        name="DINOv2 small", encoder="tu-vit_small_patch14_reg4_dinov2.lvd142m", weights="timm",
        millions=22.1, access="open", licence="Apache 2.0",
    ),
    Foundation(
        name="DINOv2 large", encoder="tu-vit_large_patch14_reg4_dinov2.lvd142m", weights="timm",
        millions=304.4, access="open", licence="Apache 2.0",
    ),
    Foundation(
        name="DINOv3 base", encoder="tu-vit_base_patch16_dinov3.lvd1689m", weights="timm",
        millions=85.6, access="open", licence="DINOv3 License", forbids="what its list of uses excludes",
    ),
    Foundation(
        name="H-optimus-0", encoder="tu-vit_giant_patch14_reg4_dinov2", weights="hub:bioptimus/H-optimus-0",
        vit=_SCALED, millions=1134.8, access="open", licence="Apache 2.0",
    ),
    Foundation(
        name="H-optimus-1", encoder="tu-vit_giant_patch14_reg4_dinov2", weights="hub:bioptimus/H-optimus-1",
        vit=_SCALED, millions=1134.8, access="gated", licence="CC BY-NC-ND 4.0", forbids=_NC,
    ),
    Foundation(
        name="UNI", encoder="tu-vit_large_patch16_224", weights="hub:MahmoodLab/UNI",
        vit=_SCALED, millions=303.4, access="gated", licence="CC BY-NC-ND 4.0", forbids=_NC,
    ),
    Foundation(
        name="UNI2-h", encoder="tu-vit_giant_patch14_224", weights="hub:MahmoodLab/UNI2-h",
        vit={
            **_SCALED, "depth": 24, "num_heads": 24, "embed_dim": 1536, "mlp_ratio": 5.33334, "no_embed_class": True,
            "mlp_layer": "swiglu-packed", "act_layer": "silu", "reg_tokens": 8,
        },
        millions=681.4, access="gated", licence="CC BY-NC-ND 4.0", forbids=_NC,
    ),
    Foundation(
        name="Virchow", encoder="tu-vit_huge_patch14_224", weights="hub:paige-ai/Virchow",
        vit=_VIRCHOW, millions=631.2, access="gated", licence="Apache 2.0",
    ),
    Foundation(
        name="Virchow2", encoder="tu-vit_huge_patch14_224", weights="hub:paige-ai/Virchow2",
        vit={**_VIRCHOW, "reg_tokens": 4}, millions=631.2, access="gated", licence="CC BY-NC-ND 4.0", forbids=_NC,
    ),
)  # fmt: skip


def terms_of(repository: str) -> str:
    """Where to ask for weights of a repository, and what their licence forbids; "" for what is open or not known."""
    found = next((known for known in FOUNDATIONS if known.repository == repository), None)
    if found is None or found.access == "open":
        return ""
    forbids = f", which forbids {found.forbids}" if found.forbids else ""
    return (
        f"{found.name} is gated: ask at https://huggingface.co/{repository}, then `hf auth login`; its licence is "
        f"{found.licence}{forbids}"
    )
