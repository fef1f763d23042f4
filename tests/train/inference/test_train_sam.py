"""A SAM in a local folder: loaded by transformers, tiny and with random weights."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from qpkit.errors import FormatError, MissingExtraError
from qpkit_train.clicks.discs import Click
from qpkit_train.inference.prompts.sam import Sam
from qpkit_train.machine.torchvision_shim import ensure_torchvision

IMAGE = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
CLICKS = [Click(40.5, 50.5), Click(3.0, 4.0, is_inside=False)]
SMALL = {"hidden_size": 16, "image_size": 64, "patch_size": 16, "mask_input_channels": 4}
HEAD = {"hidden_size": 16, "mlp_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "iou_head_hidden_dim": 16}


@pytest.fixture(scope="module", params=["sam", "sam2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    ensure_torchvision()
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra: sam)")
    path = tmp_path_factory.mktemp(request.param)
    size, low = {"height": 64, "width": 64}, {"height": 16, "width": 16}
    if request.param == "sam":
        vision = {
            "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64, "patch_size": 16,
            "output_channels": 16, "num_pos_feats": 8, "mlp_dim": 32, "global_attn_indexes": [1], "window_size": 2,
        }  # fmt: skip
        prompts = {**SMALL, "image_embedding_size": 4}
        config = transformers.SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=HEAD)
        model = transformers.SamModel(config)
        images = transformers.SamImageProcessor(
            size={"longest_edge": 64}, pad_size=size, mask_size={"longest_edge": 16}, mask_pad_size=low
        )
        processor = transformers.SamProcessor(images)
    else:
        backbone = transformers.Sam2HieraDetConfig(
            hidden_size=8, image_size=[64, 64], num_attention_heads=1, blocks_per_stage=[1, 1, 2, 1],
            embed_dim_per_stage=[8, 16, 32, 64], num_attention_heads_per_stage=[1, 2, 4, 8],
            global_attention_blocks=[3], window_size_per_stage=[4, 4, 4, 4],
            window_positional_embedding_background_size=[4, 4],
        )  # fmt: skip
        vision = transformers.Sam2VisionConfig(
            backbone_config=backbone, backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=16,
            backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
        )  # fmt: skip
        config = transformers.Sam2Config(vision_config=vision, prompt_encoder_config=SMALL, mask_decoder_config=HEAD)
        model = transformers.Sam2Model(config)
        processor = transformers.Sam2Processor(transformers.Sam2ImageProcessor(size=size, mask_size=low))
    model.save_pretrained(path)
    processor.save_pretrained(path)
    return path


def test_a_sam_answers_each_pixel_of_each_image_the_same_each_time(folder: Path) -> None:
    sam = Sam(folder, mpp=0.5)
    one, two = sam.answer([IMAGE, IMAGE], [CLICKS[:1], CLICKS])
    assert one.shape == two.shape == (96, 96) and one.dtype == np.float32
    assert ((one >= 0) & (one <= 1)).all() and not np.array_equal(one, two)
    again = Sam(folder, mpp=0.5)
    np.testing.assert_array_equal(one, again.answer([IMAGE], [CLICKS[:1]])[0])
    assert sam.card.run == again.card.run and sam.card.run.startswith(sam.card.name) and sam.card.mpp == 0.5


def test_a_folder_with_something_else_is_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "nothing"}')
    for where, said in ((tmp_path, "not a SAM model"), (tmp_path / "gone", "there is no config.json")):
        with pytest.raises(FormatError, match=said):
            Sam(where, mpp=0.5)


def test_without_transformers_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'qpkit\[sam\]'"):
        Sam(tmp_path, mpp=0.5)
