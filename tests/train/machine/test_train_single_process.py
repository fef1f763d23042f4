"""One process is all there is until a launcher says otherwise; and who is who is read from its environment."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from qpkit.errors import ConfigError
from qpkit_train.machine import processes
from qpkit_train.machine.processes import (
    check_batch,
    ends_with_the_others,
    gathered,
    is_launched,
    launch,
    lead_first,
    rank,
    ranks,
    whole_batch,
)


@pytest.fixture
def as_second_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "3", "RANK": "1", "TORCHELASTIC_RUN_ID": "test"}.items():
        monkeypatch.setenv(name, value)


def test_numbers_in_the_environment_count_only_where_a_launcher_put_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "1")
    assert (is_launched(), ranks(), rank()) == (False, 1, 0)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    assert (is_launched(), ranks(), rank()) == (True, 3, 1)


def test_alone_everything_is_ones_own() -> None:
    value = {"a": [1, 2]}
    assert gathered(value)[0] is value and len(gathered(value)) == 1
    logits, targets = torch.zeros(2, 3, 4, 4, requires_grad=True), torch.zeros(2, 4, 4, dtype=torch.int64)
    whole, known = whole_batch(logits, targets, total=2)
    assert whole is logits and known is targets
    with lead_first():
        order = ["inside"]
    assert order == ["inside"]
    check_batch(1)


@pytest.mark.usefixtures("as_second_of_three")
def test_a_batch_has_a_tile_for_every_process() -> None:
    check_batch(3)
    with pytest.raises(ConfigError, match=r"data\.batch_size = 2 is the batch of all 3 processes"):
        check_batch(2)


@pytest.mark.usefixtures("as_second_of_three")
def test_the_first_process_goes_through_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(dist, "barrier", lambda: done.append("barrier"))
    with lead_first():
        done.append("block")
    monkeypatch.setenv("RANK", "0")
    with lead_first():
        done.append("block")
    assert done == ["barrier", "block", "block", "barrier"]


@pytest.mark.usefixtures("as_second_of_three")
def test_parts_are_filled_up_with_unknown_pixels_and_only_ones_own_has_a_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seven tiles among three: 3, 2 and 2; the others' parts are played by copies."""

    def all_gather(parts: list[torch.Tensor], own: torch.Tensor) -> None:
        for number, part in enumerate(parts):
            part.copy_(own + (0 if number == 1 else 10 * (number + 1)))

    monkeypatch.setattr(dist, "all_gather", all_gather)
    logits = torch.ones(2, 2, 1, 1, requires_grad=True)
    targets = torch.full((2, 1, 1), 1)
    whole, known = whole_batch(logits, targets, total=7)
    assert whole.shape == (9, 2, 1, 1) and known.shape == (9, 1, 1)
    assert torch.equal(whole[3:5], logits)
    assert (known[5] == processes.IGNORE_INDEX).all() and (known[3:5] == 1).all()
    assert [int(rows[0, 0, 0, 0]) for rows in whole.detach().split(3)] == [11, 1, 31]
    whole.sum().backward()
    assert logits.grad is not None and torch.equal(logits.grad, torch.ones_like(logits))


def test_an_error_is_ones_own_unless_another_process_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = "Connection closed by peer [127.0.0.1]"
    with pytest.raises(RuntimeError, match="by peer"), ends_with_the_others():
        raise RuntimeError(gone)
    for name, value in {"WORLD_SIZE": "3", "RANK": "1", "TORCHELASTIC_RUN_ID": "test"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as end, ends_with_the_others():
        raise RuntimeError(gone)
    assert end.value.code == 1
    with pytest.raises(SystemExit), ends_with_the_others():
        raise dist.DistError("anything")
    with pytest.raises(RuntimeError, match="shape"), ends_with_the_others():
        raise RuntimeError("shape of a tensor")
    with pytest.raises(ConfigError), ends_with_the_others():
        raise ConfigError(gone)


def test_more_processes_than_gpus_are_refused_where_there_are_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match=r"--devices 3: this machine has 2 GPU"):
        launch(3, ["train"])
    monkeypatch.setattr(dist, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="cannot train with several processes"):
        launch(1, ["train"])
