"""What a training says where the machine is too small, what it leaves for TensorBoard, and torch.compile."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from qpkit.errors import ConfigError
from qpkit_train import loop
from qpkit_train.loop import fit
from qpkit_train.machine.devices import pick_device
from tests.train.tiny_tiles import MakeTiles, tiny_recipe


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.00 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_names_the_settings_to_lower(
    make_tiles: MakeTiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(loop.Training, "step", full)
    here = pick_device().type
    with pytest.raises(ConfigError, match=rf"out of memory on {here}.*data\.batch_size \(now 4;.*data\.crop_px"):
        fit(make_tiles(), tmp_path / "run", tiny_recipe())


def test_memory_that_really_runs_out_is_noticed(
    make_tiles: MakeTiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop.Training, "step", lambda *_: torch.empty(10**15))
    with pytest.raises(ConfigError, match="out of memory"):
        fit(make_tiles(), tmp_path / "run", tiny_recipe())


def test_another_runtime_error_is_not_taken_for_a_lack_of_memory(
    make_tiles: MakeTiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(loop.Training, "step", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        fit(make_tiles(), tmp_path / "run", tiny_recipe())


@pytest.mark.parametrize("when", ["in an epoch", "after its events were written"])
def test_tensorboard_has_every_step_once_also_after_an_interruption(
    make_tiles: MakeTiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    tiles, run = make_tiles(), tmp_path / "run"
    write_state = loop.records.write_state

    def kill_in_epoch(done: int, *_: object) -> None:
        if done == 7 and when == "in an epoch":
            raise Killed

    def kill_before_state(root: Path, state: loop.State) -> None:
        if state.epoch == 2 and when != "in an epoch":
            raise Killed
        write_state(root, state)

    recipe = tiny_recipe("optim.epochs=3")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(loop.records, "write_state", kill_before_state)
        fit(tiles, run, recipe, on_progress=kill_in_epoch)
    report = fit(tiles, run, recipe, resume=True)
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    steps = [event.step for event in events.Scalars("step/loss")]
    assert steps == list(range(1, report.steps + 1))
    assert [event.step for event in events.Scalars("epoch/val_loss")] == [5, 10, 15]
    assert {"step/learning rate", "epoch/mean_dice", "dice/Lesion"} <= set(events.Tags()["scalars"])


@pytest.mark.usefixtures("on_cpu")
def test_a_compiled_network_learns_the_same(
    make_tiles: MakeTiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the front half of torch.compile, which gives the same operations back: the other half takes minutes."""
    asked: list[torch.nn.Module] = []
    whole = torch.compile

    def compile_only_the_graph(network: torch.nn.Module, backend: str = "eager") -> torch.nn.Module:
        asked.append(network)
        return whole(network, backend=backend)  # type: ignore[return-value] # a module for a module

    monkeypatch.setattr(torch, "compile", compile_only_the_graph)
    tiles = make_tiles()
    plain = fit(tiles, tmp_path / "plain", tiny_recipe("optim.epochs=1"))
    assert not asked
    fast = fit(tiles, tmp_path / "fast", tiny_recipe("optim.epochs=1", "compile=true"))
    assert asked
    weights = [loop.weights.read_tensors(r.root / "best.safetensors", run=r.run) for r in (plain, fast)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-5) for name in weights[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_machine_that_cannot_compile_says_how_to_do_without(
    make_tiles: MakeTiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch._inductor.config as inductor

    monkeypatch.setattr(inductor.cpp, "cxx", (str(tmp_path / "no-compiler"),))
    torch._dynamo.reset()
    refused = pytest.raises(ConfigError, match=r"torch\.compile does not work here.*compile=false")
    with inductor.patch(force_disable_caches=True), refused:
        fit(make_tiles(), tmp_path / "run", tiny_recipe("compile=true"))
