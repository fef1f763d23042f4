"""Tile classifiers: trained by the same loop, judged by tiles, and their encoders moved into a segmentation."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score
from tiny_tiles import LABELS, MakeTiles, square_mask, tiny_recipe, write_tiles

from qpkit.core.labels import LabelMap
from qpkit.dataset import read_tile_set
from qpkit.errors import ConfigError, FormatError
from qpkit.ops.scores.confusion import IGNORE_INDEX
from qpkit_train.classify import area_under_roc, baseline_classifiers, fit_classifier
from qpkit_train.data.batches import TileReader
from qpkit_train.data.tile_labels import tile_label_map, tile_label_table, tile_labels
from qpkit_train.data.training_tiles import training_tiles_of
from qpkit_train.inference.running.torch_model import Predictor
from qpkit_train.loop import fit
from qpkit_train.preview import augmented_batches
from qpkit_train.recipe.load import load_recipe
from qpkit_train.recipe.settings import Recipe
from qpkit_train.run_folder.initial_network import initial_network
from qpkit_train.run_folder.run import load_run


class Killed(Exception):
    """What a killed process looks like from inside."""


def classifier(*overrides: str) -> Recipe:
    """bracs-classifier cut down, in float32."""
    return load_recipe(
        "bracs-classifier",
        ["model.encoder=resnet18", "model.encoder_weights=none", "model.encoder_depth=3", "data.batch_size=4",
         "data.workers=0", "optim.epochs=2", "optim.lr=1e-3", "precision=32-true", *overrides],
    )  # fmt: skip


def test_a_tile_is_positive_if_one_pixel_is_and_unknown_if_none_is_known() -> None:
    targets = torch.full((4, 3, 3), IGNORE_INDEX)
    targets[0, 0, 0], targets[1, 1, 1] = 0, 1
    targets[2] = 0
    targets[2, 2, 2] = 1
    assert tile_labels(targets).shape == (4, 1, 1)
    assert tile_labels(targets).flatten().tolist() == [0, 1, 1, IGNORE_INDEX]


def test_the_question_is_about_any_class_or_the_named_ones() -> None:
    assert tile_label_table(LABELS, []) == {0: 0, 1: 1, 3: 1}
    assert tile_label_table(LABELS, ["Other"]) == {0: 0, 1: 0, 3: 1}
    names = [tile_label_map(LABELS, asked).classes[0].name for asked in ([], ["Other"], ["Lesion", "Other"])]
    assert names == ["any class", "Other", "Lesion+Other"]
    with pytest.raises(ConfigError, match="no class 'Lesoin' in the tiles; did you mean 'Lesion'"):
        tile_label_map(LABELS, ["Lesoin"])


def test_tiles_are_counted_and_read_by_the_question(make_tiles: MakeTiles) -> None:
    root = make_tiles(train={0: 4, 1: 3, 3: 2})
    data = training_tiles_of(read_tile_set(root), classifier('positive=["Other"]'))
    assert data.names == ("background", "Other")
    assert [(g.name, len(g.tiles)) for g in data.sampler.groups] == [("positive", 2), ("negative", 7)]
    reader = TileReader(data.tile_set, table=data.table)
    for tile in data.train:
        _, target = reader.read(tile)
        mask = data.tile_set.read_mask(tile)
        assert np.array_equal(target, (mask == 3).astype(np.uint8))
        assert tile.pixels.get(1, 0) == (mask == 3).sum()


def test_tiles_that_are_unknown_in_part_are_reported(make_tiles: MakeTiles) -> None:
    root = make_tiles(train={0: 2, 1: 2}, val={0: 1})
    assert not any("in part" in note for note in training_tiles_of(read_tile_set(root), classifier()).notes)
    rng = np.random.default_rng(0)
    part = np.zeros((64, 64), np.uint8)
    part[:10] = 255
    masks = [("train", square_mask(rng, 1)), ("train", np.zeros((64, 64), np.uint8)), ("train", part), ("val", part)]
    notes = training_tiles_of(read_tile_set(write_tiles(root.parent / "part", masks)), classifier()).notes
    assert "2 tiles without it are known in part only: what is unknown counts as without" in notes


def test_training_leaves_figures_that_follow_from_the_table_of_tiles(make_tiles: MakeTiles, tmp_path: Path) -> None:
    """Against scikit-learn, from tiles.csv and the masks."""
    tiles = make_tiles(train={0: 8, 1: 4}, val={0: 7, 1: 3, 3: 2})
    report = fit_classifier(tiles, tmp_path / "run", classifier("optim.epochs=3"))
    with (tmp_path / "run" / "tiles.csv").open() as file:
        rows = list(csv.DictReader(file))
    tile_set = read_tile_set(tiles)
    by_place = {(tile.slide, tile.col): tile for tile in tile_set.tiles}
    truth = [int(row["shows_it"]) for row in rows]
    assert truth == [int((tile_set.read_mask(by_place[row["slide"], int(row["col"])]) > 0).any()) for row in rows]
    said, probabilities = [int(row["answer"]) for row in rows], [float(row["probability"]) for row in rows]
    assert said == [int(probability > 0.5) for probability in probabilities]
    assert report.model.accuracy == pytest.approx(accuracy_score(truth, said))
    assert report.model.recall == pytest.approx(recall_score(truth, said))
    if any(said):
        assert report.model.precision == pytest.approx(precision_score(truth, said))
        assert report.model.f1 == pytest.approx(f1_score(truth, said))
    assert report.model.auc == pytest.approx(roc_auc_score(truth, probabilities))
    assert report.confusion.tolist() == [
        [sum(t == i and s == j for t, s in zip(truth, said, strict=True)) for j in (0, 1)] for i in (0, 1)
    ]
    kept = load_run(tmp_path / "run").file.metrics["tiles"]
    assert kept["model"]["auc"] == report.model.auc and kept["confusion"] == report.confusion.tolist()
    assert (report.asked, report.fit.val_tiles) == ("any class", 12)


def test_ties_count_half_in_the_area_under_the_curve() -> None:
    truth = np.array([0, 1, 1, 0, 1, 255], np.uint8)
    probabilities = np.array([0.5, 0.5, 0.7, 0.1, 0.1, 1.0], np.float32)
    assert area_under_roc(truth, probabilities) == pytest.approx(roc_auc_score(truth[:5], probabilities[:5]))
    assert area_under_roc(truth[:1], probabilities[:1]) is None


def test_predictors_that_have_not_looked_score_what_their_definition_says() -> None:
    found = baseline_classifiers(np.array([[50, 10], [5, 15]]))
    prior = 20 / 80
    nothing, everything, guess = (found[name] for name in ("all background", "all this class", "random at the prior"))
    assert (nothing.accuracy, nothing.recall, nothing.precision) == (0.75, 0, None)
    assert (everything.accuracy, everything.recall, everything.precision) == (prior, 1, prior)
    assert everything.f1 == pytest.approx(2 * prior / (1 + prior))
    assert guess.accuracy == pytest.approx(prior**2 + 0.75**2) and guess.f1 == pytest.approx(prior)
    assert {item.auc for item in found.values()} == {0.5}


@pytest.mark.usefixtures("same_bits_each_time")
def test_a_classifier_resumes_bit_for_bit(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles, recipe = make_tiles(), classifier("optim.epochs=3", "data.crop_px=48")

    def dies(done: int, total: int, text: str) -> None:
        if done == 2 * total // 3 + 1:
            raise Killed

    whole = fit_classifier(tiles, tmp_path / "whole", recipe)
    with pytest.raises(Killed):
        fit_classifier(tiles, tmp_path / "cut", recipe, on_progress=dies)
    cut = fit_classifier(tiles, tmp_path / "cut", recipe, resume=True)
    assert cut.fit.resumed_from == 2 and cut.model == whole.model
    for name in ("best.safetensors", "last-0003.safetensors", "last-0003.optimizer.safetensors"):
        a, b = load_file(tmp_path / "whole" / name), load_file(tmp_path / "cut" / name)
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["densenet121", "tu-resnet18"])
def test_every_tensor_of_its_encoder_starts_the_u_net(make_tiles: MakeTiles, tmp_path: Path, encoder: str) -> None:
    tiles = make_tiles(train={0: 2, 1: 2}, val={0: 1, 1: 1})
    trained = fit_classifier(
        tiles, tmp_path / "run", classifier(f"model.encoder={encoder}", "model.encoder_depth=0", "optim.epochs=1",
                                            "data.batch_size=2")
    )  # fmt: skip
    moved = load_recipe("bracs-densenet", [f"model.encoder={encoder}", f"model.encoder_weights=run:{tmp_path / 'run'}",
                                           "data.batch_size=2", "data.workers=0", "optim.epochs=1",
                                           "precision=32-true"])  # fmt: skip
    network = initial_network(moved, ("background", "Lesion", "Other")).network.state_dict()
    source = load_file(tmp_path / "run" / "best.safetensors")
    encoders = {name: value for name, value in source.items() if name.startswith("encoder.")}
    assert len(encoders) > 50
    assert {name for name in network if name.startswith("encoder.")} == set(encoders)
    assert all(torch.equal(network[name], value) for name, value in encoders.items())
    fit(tiles, tmp_path / "segmentation", moved)
    assert load_run(tmp_path / "segmentation").file.origins["encoder_weights"]["run"] == trained.fit.run


@pytest.mark.slow
def test_a_classifier_learns_to_tell_tiles_with_a_bright_square(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks = [("train", square_mask(rng, value)) for value in [1] * 12 + [0] * 40]
    masks += [("val", square_mask(rng, value)) for value in [1] * 6 + [0] * 14]
    tiles = write_tiles(tmp_path / "tiles", masks)
    report = fit_classifier(tiles, tmp_path / "run", classifier("optim.epochs=12", "data.batch_size=8"))
    assert report.model.auc is not None and report.model.auc > 0.95
    assert report.model.f1 is not None and report.model.f1 > 0.8


def test_classifiers_and_segmentations_are_not_mixed_up(make_tiles: MakeTiles, tmp_path: Path) -> None:
    tiles = make_tiles()
    with pytest.raises(ConfigError, match="recipe unet-resnet18 segments"):
        fit_classifier(tiles, tmp_path / "x", tiny_recipe())
    fit_classifier(tiles, tmp_path / "run", classifier("optim.epochs=1"))
    with pytest.raises(FormatError, match="is a tile classifier, it predicts no pixels"):
        Predictor(load_run(tmp_path / "run"))
    with pytest.raises(ConfigError, match="positive is for tile classifiers"):
        tiny_recipe('positive=["Lesion"]')
    labels: LabelMap = load_run(tmp_path / "run").labels
    assert labels.trained_values == (0, 1)


def test_any_pixel_counts_whatever_the_mask_is_stored_as(make_tiles: MakeTiles) -> None:
    """A mask value that the label map does not have is refused for classifiers, too."""
    root = make_tiles(train={0: 1, 1: 1}, val={})
    tile_set = read_tile_set(root)
    Image.fromarray(np.full((64, 64), 9, np.uint8)).save(root / tile_set.tiles[0].mask)
    data = training_tiles_of(read_tile_set(root), classifier())
    with pytest.raises(ValueError, match="has value 9"):
        TileReader(data.tile_set, table=data.table).read(data.train[0])


def test_the_page_of_augmented_tiles_shows_the_answers_of_pixels(make_tiles: MakeTiles) -> None:
    shown = augmented_batches(make_tiles(), classifier('positive=["Other"]', "data.crop_px=48"), count=4, versions=1)
    masks = [mask for item in shown.tiles for _, mask in (item.drawn, *item.versions)]
    assert {int(value) for mask in masks for value in np.unique(mask)} == {0, 1}
