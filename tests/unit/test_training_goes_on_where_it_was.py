"""A network is trained by its recipe, may be interrupted, and comes out as a plain .keras file."""

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import pyvips

from workers import model
from workers.training import network
from workers.training.crops import compressed, cut_batch, load_crops
from workers.training.drawn import drawings
from workers.training.recipe import Recipe, TrainingError, read_recipe, shipped_recipes
from workers.training.trainee import Trainee, learning_rate
from workers.training.trainer import Progress, counted_seconds, train

TOY = Recipe(
    "toy",
    width=6,
    depth=1,
    expansion=8,
    steps=120,
    batch=4,
    patch=12,
    learning_rate=5e-3,
    held_out=1,
    average_decay=0.9,
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Dark stripes as photos, light checks as drawings."""
    for kind in ("photo", "art"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    y, x = np.mgrid[:48, :48]
    for i in range(4):
        stripes = np.where((x + i * y) // 5 % 2, 20, 110)
        checks = np.where((x // 4 + y // (4 + i)) % 2, 150, 240)
        for kind, picture in (("photo", stripes), ("art", checks)):
            colours = np.repeat(picture[..., None], 3, 2).astype(np.uint8)
            pyvips.Image.new_from_array(colours, interpretation="srgb").write_to_file(
                str(tmp_path / "data" / kind / f"{i}.png")
            )
    return tmp_path / "data"


def weights_of(path: Path) -> list[np.ndarray]:
    weights: list[np.ndarray] = keras.saving.load_model(path, compile=False).get_weights()
    return weights


def test_the_network_learns(data: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    train(TOY, data, tmp_path / "run", report_every=0.05, on_progress=seen.append)
    first, last = seen[0], seen[-1]
    assert (last.step, last.done) == (120, 1)
    assert last.loss < 0.9 * first.loss
    assert first.held_out_psnr is not None
    assert last.held_out_psnr is not None
    assert last.held_out_psnr > first.held_out_psnr + 2


def test_the_curve_is_written_line_by_line(data: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(TOY, steps=3)
    train(recipe, data, tmp_path, report_every=0)
    lines = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert {field.name for field in dataclasses.fields(Progress)} == set(lines[0])


def test_an_interrupted_training_ends_with_the_same_weights(data: Path, tmp_path: Path) -> None:
    def press_ctrl_c_at_step_7(progress: Progress) -> None:
        before.append(progress)
        if progress.step == 7:
            raise KeyboardInterrupt

    before: list[Progress] = []
    after: list[Progress] = []

    recipe = dataclasses.replace(TOY, steps=20)
    straight = train(recipe, data, tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        train(recipe, data, tmp_path / "broken", report_every=0, on_progress=press_ctrl_c_at_step_7)
    resumed = train(recipe, data, tmp_path / "broken", report_every=0, on_progress=after.append)
    assert after[0].step == 8
    assert after[0].seconds > before[-1].seconds
    for ours, theirs in zip(weights_of(resumed), weights_of(straight), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_finished_training_is_exported_again_without_another_step(data: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(TOY, steps=2)
    train(recipe, data, tmp_path).unlink()
    steps: list[int] = []
    exported = train(recipe, data, tmp_path, on_progress=lambda p: steps.append(p.step))
    assert exported.is_file()
    assert steps == []


def test_a_training_may_last_as_long_as_one_says(data: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    train(TOY, data, tmp_path, minutes=0.01, on_progress=seen.append)
    assert seen[-1].done == 1
    assert 0.6 <= seen[-1].seconds < 10
    assert seen[-1].learning_rate == pytest.approx(0)


def test_a_checkpoint_of_another_recipe_is_refused(data: Path, tmp_path: Path) -> None:
    train(dataclasses.replace(TOY, steps=1), data, tmp_path)
    with pytest.raises(TrainingError, match="by another recipe"):
        train(dataclasses.replace(TOY, steps=1, seed=2), data, tmp_path)


def test_a_damaged_checkpoint_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.npz").write_bytes(b"PK half a file")
    with pytest.raises(TrainingError, match="Remove it to start anew"):
        train(TOY, data, tmp_path)


def test_what_is_exported_is_plain_and_can_be_used(data: Path, tmp_path: Path) -> None:
    exported = train(dataclasses.replace(TOY, steps=1), data, tmp_path)
    upscaler = model.load(str(exported))
    assert (upscaler.name, upscaler.scale, upscaler.halo) == ("toy", 2, 2)


def test_the_folded_kernel_draws_what_its_branches_draw_together() -> None:
    layer = network.Collapsible(6, 3, "same", expansion=8, name="folded")
    features = np.random.default_rng(0).random((1, 9, 9, 6), np.float32)
    ours = layer(features)
    direct, wide = (keras.ops.conv(features, kernel, padding="same") for kernel in (layer.direct, layer.widen))
    together = direct + keras.ops.matmul(wide, layer.narrow) + features + layer.bias
    np.testing.assert_allclose(ours, together, atol=1e-5)


def test_the_exported_network_draws_what_the_trained_one_draws() -> None:
    trainee = Trainee(dataclasses.replace(TOY, average_decay=1e-9))
    patches = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3), np.uint8)
    for _ in range(3):
        trainee.learn(patches, patches.repeat(2, axis=1).repeat(2, axis=2), done=0.5)
    small = patches.astype(np.float32) / 255
    np.testing.assert_allclose(trainee.enlarge(small), trainee.model(small), atol=1e-5)


def test_the_learning_rate_rises_and_falls_to_zero() -> None:
    recipe = dataclasses.replace(TOY, learning_rate=1.0, warm_up=0.2)
    rates = [learning_rate(recipe, done) for done in (0, 0.1, 0.2, 0.6, 1.0)]
    assert rates == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_photos_and_drawings_have_the_same_share_of_every_batch(data: Path) -> None:
    (data / "photo" / "0.png").unlink()
    small, large = cut_batch(load_crops(data, TOY), TOY, step=5)
    assert (small.shape, large.shape) == ((4, 12, 12, 3), (4, 24, 24, 3))
    assert sorted((patch.mean() > 130).item() for patch in large) == [False, False, True, True]


def test_small_and_large_patches_show_the_same(data: Path) -> None:
    crops = load_crops(data, TOY)
    for step in range(20):
        small, large = cut_batch(crops, TOY, step)
        blocks = large.reshape(4, 12, 2, 12, 2, 3).mean(axis=(2, 4))
        assert np.abs(blocks - small).mean() < 10


def test_the_same_step_has_the_same_patches_and_another_step_has_others(data: Path) -> None:
    crops = load_crops(data, TOY)
    first, again, other = (cut_batch(crops, TOY, step)[1] for step in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_held_out_crops_are_of_every_kind_and_never_trained_on(data: Path) -> None:
    crops = load_crops(data, TOY)
    assert sorted((pair.large.mean() > 130).item() for pair in crops.held_out) == [False, True]
    trained_on = [pair.large.tobytes() for kind in crops.kinds for pair in kind]
    assert len(trained_on) == 6
    assert not {pair.large.tobytes() for pair in crops.held_out} & set(trained_on)


def test_of_several_patches_the_one_with_the_most_detail_is_taken(data: Path) -> None:
    for path in (data / "art").glob("*.png"):
        path.unlink()
    half_flat = np.full((48, 48, 3), 200, np.uint8)
    half_flat[:, 24:] = ((np.indices((48, 24)) // 4).sum(0) % 2 * 255)[..., None]
    pyvips.Image.new_from_array(half_flat, interpretation="srgb").write_to_file(str(data / "art" / "only.png"))
    plain, choosy = (dataclasses.replace(TOY, patch=6, candidates=count) for count in (1, 8))
    crops = load_crops(data, plain)

    def contrast(recipe: Recipe) -> float:
        drawings = [patch for step in range(20) for patch in cut_batch(crops, recipe, step)[1][::2]]
        return float(np.mean([patch.std() for patch in drawings]))

    assert contrast(choosy) > 1.2 * contrast(plain)


def test_crops_are_also_reduced_where_a_patch_still_fits(data: Path) -> None:
    crops = load_crops(data, dataclasses.replace(TOY, also_reduced_to=(0.75, 0.5, 0.4), held_out=0))
    sizes = [pair.large.shape[:2] for pair in crops.kinds[0]]
    assert sizes == [(48, 48), (36, 36), (24, 24)] * 4
    assert all(pair.small.shape[0] * 2 == pair.large.shape[0] for pair in crops.kinds[0])


def test_patches_for_the_jpeg_variant_are_what_jpeg_leaves_of_them(data: Path) -> None:
    recipe = dataclasses.replace(TOY, jpeg_quality=(30, 40))
    crops = load_crops(data, recipe)
    (clean_small, clean_large), (small, large) = ((each[0] for each in cut_batch(crops, r, 3)) for r in (TOY, recipe))
    np.testing.assert_array_equal(large, clean_large)
    assert 1 < np.abs(small.astype(int) - clean_small).mean() < 40


def test_a_lower_quality_leaves_less_and_halved_colour_costs_colour() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)

    def lost(quality: int, *, halved: bool) -> float:
        return float(np.abs(compressed(picture, quality, halved_colour=halved).astype(int) - picture).mean())

    assert lost(100, halved=False) < 2 < lost(75, halved=False) < lost(30, halved=False)
    assert lost(100, halved=True) > 10


def test_a_part_of_the_patches_is_cut_from_pictures_that_we_draw(data: Path) -> None:
    recipe = dataclasses.replace(TOY, batch=8, drawn_share=0.25)
    crops = load_crops(data, recipe)
    assert len(crops.drawn) == 200
    _, large = cut_batch(crops, recipe, 1)
    has_colours = [bool(np.ptp(patch.astype(int), axis=2).any()) for patch in large]
    assert has_colours == [True, True] + [False] * 6


def test_our_drawings_are_the_same_for_the_same_seed_and_full_of_edges() -> None:
    figures, page = drawings(2, 96, seed=1)
    again, _ = drawings(2, 96, seed=1)
    others, _ = drawings(2, 96, seed=2)
    np.testing.assert_array_equal(figures, again)
    assert (figures != others).any()
    for picture in (figures, page):
        assert picture.shape == (96, 96, 3)
        assert (np.abs(np.diff(picture.astype(int), axis=1)).max(axis=2) > 20).mean() > 0.01


def enlarged_by(recipe: Recipe, begin: Path | None = None) -> np.ndarray:
    pictures = np.random.default_rng(0).random((1, 9, 11, 3), np.float32)
    return Trainee(recipe, begin).enlarge(pictures)


def test_a_training_begins_with_what_another_has_learnt(data: Path, tmp_path: Path) -> None:
    exported = train(dataclasses.replace(TOY, steps=5), data, tmp_path)
    theirs = keras.saving.load_model(exported, compile=False)(
        np.random.default_rng(0).random((1, 9, 11, 3), np.float32)
    )
    for ours in (TOY, dataclasses.replace(TOY, seed=3, expansion=4), dataclasses.replace(TOY, width=9)):
        np.testing.assert_allclose(enlarged_by(ours, exported), theirs, atol=1e-5)
    deeper = enlarged_by(dataclasses.replace(TOY, depth=2), exported)
    assert 0 < np.abs(deeper - theirs).mean() < 0.1


def test_a_training_for_another_scale_begins_with_the_same_details_repeated(data: Path, tmp_path: Path) -> None:
    exported = train(dataclasses.replace(TOY, steps=5), data, tmp_path)
    twice = enlarged_by(TOY, exported)
    four_times = enlarged_by(dataclasses.replace(TOY, scale=4), exported)
    np.testing.assert_allclose(four_times, twice.repeat(2, axis=1).repeat(2, axis=2), atol=1e-5)


def test_a_training_cannot_begin_with_a_wider_network(data: Path, tmp_path: Path) -> None:
    exported = train(dataclasses.replace(TOY, steps=1), data, tmp_path)
    with pytest.raises(TrainingError, match="wider than the recipe says"):
        Trainee(dataclasses.replace(TOY, width=3), exported)


def test_a_training_cannot_begin_with_what_is_not_there(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"gone\.keras, which cannot be loaded"):
        train(dataclasses.replace(TOY, begins_with=str(tmp_path / "gone.keras")), data, tmp_path)
    with pytest.raises(TrainingError, match="no recipe 'nobody'"):
        train(dataclasses.replace(TOY, begins_with="nobody"), data, tmp_path)


def test_the_recipe_to_begin_with_is_followed_first(data: Path, tmp_path: Path) -> None:
    first = tmp_path / "first.toml"
    first.write_text("width = 6\ndepth = 1\nexpansion = 8\nsteps = 2\nbatch = 4\npatch = 12\nheld_out = 0\n")
    seen: list[Progress] = []
    recipe = dataclasses.replace(TOY, begins_with=str(first), steps=3)
    train(recipe, data, tmp_path / "run", report_every=0, on_progress=seen.append)
    assert [(each.recipe, each.step) for each in seen] == [
        ("first", 1),
        ("first", 2),
        ("toy", 1),
        ("toy", 2),
        ("toy", 3),
    ]
    assert (tmp_path / "run" / "first" / "first.keras").is_file()


def test_the_last_part_learns_by_psnr(data: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(TOY, steps=10, psnr_from=0.5)
    losses: list[float] = []
    train(recipe, data, tmp_path, report_every=0, on_progress=lambda progress: losses.append(progress.loss))
    assert min(losses[:5]) > 0 > max(losses[5:])


def test_time_in_which_the_computer_sleeps_is_no_training() -> None:
    assert counted_seconds(0.2) == 0.2
    assert counted_seconds(8 * 3600) < 60


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="nothing to train on"):
        train(TOY, tmp_path, tmp_path / "run")


def test_pictures_that_are_too_small_are_nothing_to_train_on(data: Path) -> None:
    with pytest.raises(TrainingError, match="at least 60 pixels wide and high"):
        load_crops(data, dataclasses.replace(TOY, patch=30))


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot be read: No such file"):
        train(TOY, tmp_path / "nowhere", tmp_path / "run")


def test_a_picture_that_is_none_is_named(data: Path) -> None:
    (data / "art" / "1.png").write_bytes(b"no picture")
    with pytest.raises(TrainingError, match=r"1\.png cannot be read as a picture"):
        load_crops(data, TOY)


def test_a_place_that_cannot_be_written_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrainingError, match="cannot write to"):
        train(TOY, data, tmp_path / "file" / "run")


def test_every_shipped_recipe_can_be_read() -> None:
    assert [read_recipe(name).name for name in shipped_recipes()] == list(shipped_recipes())
    assert "fast-x2" in shipped_recipes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("widht = 3", "unknown key 'widht'. Known keys: name, begins_with, scale, width"),
        ("width = 'wide'", "'width' is 'wide', but must be of type int"),
        ("width = true", "'width' is True, but must be of type int"),
        ("scale = 1", "'scale' must be at least 2, not 1"),
        ("candidates = 0", "'candidates' must be at least 1, not 0"),
        ("jpeg_quality = [30]", "'jpeg_quality' must be two numbers from 1 to 100"),
        ("jpeg_quality = [30, 101]", "'jpeg_quality' must be two numbers from 1 to 100"),
        ("jpeg_quality = 75", "'jpeg_quality' is 75, but must be of type list of numbers"),
        ("also_reduced_to = [0.5, 2]", "'also_reduced_to' must be numbers between 0 and 1"),
        ("also_reduced_to = ['half']", "must be of type list of numbers"),
        ("width =", "cannot be read"),
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(TrainingError, match=message):
        read_recipe(str(tmp_path / "mine.toml"))


def test_an_unknown_recipe_is_answered_with_the_known_ones() -> None:
    with pytest.raises(TrainingError, match=r"no recipe 'slow'. Shipped recipes: .*fast-x2"):
        read_recipe("slow")


def test_a_training_that_diverges_says_so(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="Lower the learning rate"):
        train(dataclasses.replace(TOY, learning_rate=1e30, warm_up=0.0), data, tmp_path, report_every=0)
