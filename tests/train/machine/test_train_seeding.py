"""What makes a training come out the same each time; on a machine without a GPU only how torch is asked for it."""

from __future__ import annotations

import pytest
import torch

from qpkit.core.labels import LabelClass, LabelMap
from qpkit.errors import ConfigError
from qpkit_train.machine.seeding import same_bits
from qpkit_train.recipe.load import load_recipe
from qpkit_train.run_folder.records import run_id

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")


@pytest.mark.parametrize(("wanted", "device", "asked"), [(True, GPU, True), (False, GPU, False), (True, CPU, False)])
def test_torch_is_asked_for_the_same_bits_in_the_block_alone(wanted: bool, device: torch.device, asked: bool) -> None:
    before = torch.are_deterministic_algorithms_enabled()
    with same_bits(wanted, device):
        assert torch.are_deterministic_algorithms_enabled() is (asked or before)
    assert torch.are_deterministic_algorithms_enabled() is before


def test_what_cannot_be_computed_to_the_same_bits_is_named() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    with pytest.raises(ConfigError, match=r"^cumsum_cuda does not .*deterministic=false$"), same_bits(True, GPU):
        raise RuntimeError("cumsum_cuda does not have a deterministic implementation, but you set it")
    with pytest.raises(RuntimeError, match="shapes"), same_bits(True, GPU):
        raise RuntimeError("shapes do not match")
    assert torch.are_deterministic_algorithms_enabled() is before


def test_a_run_keeps_its_id_where_it_is_not_asked_for() -> None:
    labels = LabelMap(classes=(LabelClass("Lesion", 1, ()),))
    found = [run_id(load_recipe("unet-resnet18", over), labels, "0") for over in ([], ["deterministic=true"])]
    assert found[0] == "unet-resnet18-afa5a4" != found[1]
