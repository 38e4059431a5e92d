"""Recipes: complete, typed, bounded, and what their heads promise."""

import dataclasses
import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from partseg_cli.cli.app import app
from partseg_cli.config.recipe import (
    MODELS,
    SECTIONS,
    CaptionRecipe,
    CLIPSegLossSection,
    CLIPSegSection,
    LossSection,
    PartCLIPSegSection,
    PhraseRecipe,
    Recipe,
    find_recipe,
    load_any_recipe,
    load_recipe,
    parse_recipe,
)
from partseg_cli.data.manifest import load_manifest, manifest_names
from partseg_cli.errors import RecipeError
from partseg_cli.evaluation.published_scores import published_rows
from partseg_cli.io.paths import packaged

RECIPES = sorted(packaged("recipes").rglob("*.yaml"))
OTHER_TASKS = {"nano_clip": "captions", "nano_start": "phrases"}
TINY = str(packaged("recipes") / "tiny.yaml")


def refused(message: str):
    return pytest.raises(RecipeError, match=f"^{re.escape(message)}$")


def raw() -> dict:
    return yaml.safe_load(Path(TINY).read_text(encoding="utf-8"))


# ---- the packaged ones


def test_sixteen_recipes_are_packaged_and_each_is_found_by_name():
    assert [path.stem for path in RECIPES] == [
        *("ade_clipseg", "ade_fewshot", "ade_to_pascal", "ade_zeroshot"),
        *("cartoon", "cartoon_clipseg", "nano_clip", "nano_start"),
        *("partimagenet_clipseg", "partimagenet_fewshot", "partimagenet_to_pascal", "partimagenet_zeroshot"),
        *("pascal_clipseg", "pascal_fewshot", "pascal_zeroshot", "tiny"),
    ]
    assert [find_recipe(path.stem) for path in RECIPES] == RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_packaged_recipe_loads_and_holds_what_its_file_says(path):
    recipe = load_any_recipe(str(path))
    assert recipe.name == path.stem
    written, held = yaml.safe_load(path.read_text(encoding="utf-8")), recipe.to_dict()
    assert list(written) == list(held) == [*(["task"] if path.stem in OTHER_TASKS else []), *SECTIONS]
    assert (written.pop("task", "parts"), held.pop("task", "parts")) == (recipe.task, recipe.task)
    for name, section in written.items():
        read = held[name]
        assert list(section) == list(read)
        assert {key: float(section[key]) if isinstance(read[key], float) else section[key] for key in read} == read


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_packaged_recipe_is_short_and_opens_with_its_use_and_command(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 60
    first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    assert lines[first] == (f"task: {OTHER_TASKS[path.stem]}" if path.stem in OTHER_TASKS else "data:")
    head = "\n".join(lines[:first])
    assert f"partseg train recipes/{path.name}" in head
    assert "Hardware:" in head


OURS_AND_PUBLISHED = {  # switches
    "model.object_text_index": ("paper", "published"),
    "model.background_embedding": ("frozen", "frozen"),
    "loss.mask_mean": ("paper", "published"),
    "loss.separation": ("soft", "hard"),
    "loss.parts_per_object": ("own", "image"),
    "data.unlabelled_objects": ("background", "background"),
    "loss.loss_mean": ("image", "image"),
    "data.train_channel_order": ("rgb", "bgr"),
    "train.select": ("last", "best"),
    "model.init": ("rd64-refined", "rd64-refined"),
}


def switches(recipe) -> dict[str, str]:
    values = recipe.to_dict()
    return {key: values[key.split(".")[0]][key.split(".")[1]] for key in OURS_AND_PUBLISHED}


PUBLISHED = ["ade_zeroshot", "partimagenet_zeroshot", "pascal_zeroshot"]
ACROSS = ["ade_to_pascal", "partimagenet_to_pascal"]
FEWSHOT = ["ade_fewshot", "partimagenet_fewshot", "pascal_fewshot"]
CLIPSEG = ["ade_clipseg", "partimagenet_clipseg", "pascal_clipseg"]


def head_of(name: str) -> str:
    return (packaged("recipes") / f"{name}.yaml").read_text(encoding="utf-8").split("\n\n", maxsplit=1)[0]


def data_set_of(name: str) -> str:
    """Give the name of the zero-shot recipe of the same dataset."""
    return f"{name.split('_')[0]}_zeroshot"


@pytest.mark.parametrize("name", PUBLISHED + ACROSS + FEWSHOT)
def test_the_published_recipes_hold_our_defaults(name):
    recipe = load_recipe(name)
    assert switches(recipe) == {key: ours for key, (ours, _) in OURS_AND_PUBLISHED.items()}


@pytest.mark.parametrize("recipe", PUBLISHED + ACROSS + FEWSHOT)
def test_the_line_in_the_head_of_a_published_recipe_gives_all_published_values(recipe):
    path = packaged("recipes") / f"{recipe}.yaml"
    (line,) = re.findall(r"^# +(partseg train .* .*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    command, verb, name, *overrides = shlex.split(line)
    assert (command, verb, name) == ("partseg", "train", f"recipes/{recipe}.yaml")
    assert switches(load_recipe(str(path), overrides)) == {key: value for key, (_, value) in OURS_AND_PUBLISHED.items()}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_recipes_train_as_published(name):
    recipe = load_recipe(name)
    train, loss = recipe.train, recipe.loss
    assert (train.lr, train.weight_decay, train.poly_power, train.clip_grad_norm) == (1e-4, 1e-4, 0.9, 0.01)
    assert (train.batch_size, train.iterations, train.seed) == (8, 20_000, 12_345_678)
    assert (loss.lambda_obj, loss.lambda_part, loss.lambda_sep, loss.lambda_enh) == (1, 1, 0.1, 0.01)
    assert (loss.gamma, loss.background_weight, recipe.model.image_size) == (0.3, 0.05, 352)


@pytest.mark.parametrize(
    ("name", "dataset", "views"),
    [
        ("pascal_zeroshot", "pascal-part-116", (800, 1333, 0.5)),
        ("ade_zeroshot", "ade20k-part-234", (800, 1333, 0.5)),
        ("partimagenet_zeroshot", "partimagenet", (None, 1333, 0.0)),
    ],
)
def test_the_published_recipes_differ_in_their_data_alone(name, dataset, views):
    recipe, pascal = load_recipe(name), load_recipe("pascal_zeroshot")
    data = recipe.data
    assert (data.dataset, data.shortest_edge, data.longest_edge, data.flip) == (dataset, *views)
    assert dataset in manifest_names()
    assert (recipe.model, recipe.loss, recipe.train) == (pascal.model, pascal.loss, pascal.train)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_head_of_a_published_recipe_counts_the_objects_of_its_manifest(name):
    words = load_manifest(load_recipe(name).data.dataset).vocabulary
    seen, objects = len(words.seen().objects), len(words.objects)
    head = (packaged("recipes") / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert head.endswith(f"zero-shot: trained on {seen} objects, tested on {objects}. Our defaults.")


@pytest.mark.parametrize("recipe", CLIPSEG)
def test_the_line_in_the_head_of_the_published_clipseg_gives_all_published_values(recipe):
    (line,) = re.findall(r"^# +(partseg train .* .*)$", head_of(recipe), re.MULTILINE)
    command, verb, name, *overrides = shlex.split(line)
    assert (command, verb, name) == ("partseg", "train", f"recipes/{recipe}.yaml")
    ours, published = (load_recipe(recipe, given).to_dict() for given in ([], overrides))
    wanted = {key: values for key, values in OURS_AND_PUBLISHED.items() if key.split(".")[1] in ours[key.split(".")[0]]}
    assert {"data.train_channel_order", "train.select"} <= set(wanted)
    for index, values in enumerate((ours, published)):
        assert {key: values[key.split(".")[0]][key.split(".")[1]] for key in wanted} == {
            key: both[index] for key, both in wanted.items()
        }


@pytest.mark.parametrize("name", ACROSS)
def test_a_recipe_across_data_sets_trains_as_the_zero_shot_recipe_of_its_source(name):
    one, two = load_recipe(name), load_recipe(data_set_of(name))
    assert (one.data, one.model, one.loss, one.train) == (two.data, two.model, two.loss, two.train)
    head, words = head_of(name), load_manifest(one.data.dataset).vocabulary
    assert f"The {sum(words.is_seen)} seen pairs alone are trained" in head
    assert f"partseg split pascal-part-116 --trained-on {one.data.dataset} --out " in head


@pytest.mark.parametrize("name", FEWSHOT)
def test_a_few_shot_recipe_trains_as_zero_shot_on_the_split_that_its_head_makes(name):
    one, two = load_recipe(name), load_recipe(data_set_of(name))
    assert (one.model, one.loss) == (two.model, two.loss)
    # all pairs are seen: there is no unseen one for a harmonic mean
    assert one.train == dataclasses.replace(two.train, monitor="oracle-obj seen")
    assert one.data == dataclasses.replace(two.data, split=f"{name.split('_')[0]}_16shot.yaml")
    made = f"partseg split {one.data.dataset} --shots 16 --unseen none --out {one.data.split}"
    assert f"#   {made}\n#   partseg train recipes/{name}.yaml\n" in head_of(name)


@pytest.mark.parametrize("name", PUBLISHED + ACROSS + CLIPSEG)
def test_the_head_tells_the_published_scores_and_their_table(name):
    recipe, head = load_recipe(name), " ".join(head_of(name).replace("\n# ", " ").split())
    trained = recipe.data.dataset
    tested, trained_on = ("pascal-part-116", trained) if name in ACROSS else (trained, "")
    every = [
        row for protocol in ("pred-all", "oracle-obj") for row in published_rows(tested, protocol, recipe.model.name)
    ]
    found = [row for row in every if (row.metric, row.rule, row.trained_on) == ("mIoU", "partclipseg", trained_on)]
    assert len(found) == 2
    for row in found:
        assert row.source.split(", ")[-1] in head  # the table
        figures = [row.overall] if name in ACROSS else row.means.values()
        assert " / ".join(f"{figure:.2f}" for figure in figures) in head


@pytest.mark.parametrize("name", PUBLISHED + ACROSS + FEWSHOT + CLIPSEG)
def test_the_head_tells_what_was_not_measured(name):
    head = " ".join(head_of(name).replace("\n# ", " ").lower().split())
    assert "hardware: one gpu" in head
    assert "time: not measured here." in head
    assert "published" in head


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_command_in_a_head_is_one_that_the_tool_understands(path):
    lines = re.findall(r"^# +(partseg .*)$", head_of(path.stem), re.MULTILINE)
    for line in lines:
        command, words = get_command(app), shlex.split(line)[1:]
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        assert not command.make_context(command.name, words).args
    assert any(line.startswith(f"partseg train recipes/{path.name}") for line in lines)


@pytest.mark.parametrize(
    ("name", "other"), [*((name, data_set_of(name)) for name in CLIPSEG), ("cartoon_clipseg", "cartoon")]
)
def test_clipseg_is_trained_with_the_data_and_the_budget_of_partclipseg(name, other):
    one, two = load_recipe(name), load_recipe(other)
    assert (one.data, one.train) == (two.data, two.train)
    assert (one.loss.background_weight, one.loss.loss_mean) == (two.loss.background_weight, two.loss.loss_mean)
    shared = ("backbone", "init", "image_size", "background_embedding", "trainable")
    assert [getattr(one.model, key) for key in shared] == [getattr(two.model, key) for key in shared]


def test_the_head_of_the_cartoon_recipe_counts_the_objects_of_its_manifest():
    words = load_manifest(load_recipe("cartoon").data.dataset).vocabulary
    seen, objects = len(words.seen().objects), len(words.objects)
    head = (packaged("recipes") / "cartoon.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert f"trained on the parts of {seen} objects, tested on {objects}." in head


# ---- round trip and overrides


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_yaml_that_is_written_reads_as_the_same_recipe(path, tmp_path):
    weight = dataclasses.fields(load_any_recipe(str(path)).loss)[0].name
    changes = ["train.lr=3e-7", "data.root=null", "data.split=my split.yaml", f"loss.{weight}=1e-12"]
    recipe = load_any_recipe(str(path), changes)
    copy = tmp_path / path.name
    copy.write_text(recipe.to_yaml(), encoding="utf-8")
    assert load_any_recipe(str(copy)) == recipe
    assert getattr(recipe.loss, weight) == 1e-12


def test_overrides_change_their_key_and_no_other():
    changed = load_recipe("tiny", ["train.lr=1", "data.root=/some where", "data.shortest_edge=50", "train.lr=0.25"])
    plain = load_recipe("tiny")
    assert (changed.train.lr, changed.data.root, changed.data.shortest_edge) == (0.25, "/some where", 50)
    back = dataclasses.replace(
        changed,
        train=dataclasses.replace(changed.train, lr=plain.train.lr),
        data=dataclasses.replace(changed.data, root=None, shortest_edge=None),
    )
    assert back == plain


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.0e-4", "0.0001", "+1e-4"])
def test_a_float_may_be_written_in_a_way_that_yaml_takes_for_text(text):
    assert load_recipe("tiny", [f"train.lr={text}"]).train.lr == 1e-4


def test_a_whole_number_is_a_float_where_a_float_is_wanted():
    lr = load_recipe("tiny", ["train.lr=1"]).train.lr
    assert (lr, type(lr)) == (1.0, float)


@pytest.mark.parametrize("override", ["train.lr", "lr=1", "=1", "train.=1", ".lr=1", "", "train.lr 1"])
def test_an_override_without_section_key_and_value_is_refused(override):
    with refused(f"override must read section.key=value, got {override!r}; for example train.lr=1e-4"):
        load_recipe("tiny", [override])


def test_an_override_that_is_no_yaml_is_refused():
    with refused("override 'train.lr=[1': the value must be YAML, got '[1'"):
        load_recipe("tiny", ["train.lr=[1"])


def test_an_override_of_a_section_that_is_none_is_refused(tmp_path):
    path = tmp_path / "odd.yaml"
    path.write_text("train: 5")
    with refused("override 'train.lr=1': train must be a section, got 5"):
        load_recipe(str(path), ["train.lr=1"])


# ---- keys


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("data.cache=photos", "data.cache images"),
        ("data.cache=taps", "data.cache features"),
        ("model.trained=all", "model.trainable"),
        ("train.absent_objects=2", "train.negative_objects"),
        ("train.best_by=oracle-obj seen", "train.monitor"),
        ("train.clip_norm=1", "train.clip_grad_norm"),
        ("train.evaluate_every=5", "train.eval_interval"),
        ("train.keep=2", "train.keep_checkpoints"),
        ("train.micro_batch=2", "train.micro_batch_size"),
        ("train.power=0.9", "train.poly_power"),
        ("train.recompute_decoder=true", "train.activation_checkpointing"),
        ("train.save_every=5", "train.save_interval"),
    ],
)
def test_a_renamed_key_is_refused_with_its_new_name(old, new):
    name = old.replace("=", " ") if old.startswith("data.") else old.partition("=")[0]
    with refused(f"{TINY}: {name} has been renamed, use {new}"):
        load_recipe(TINY, [old])


def test_a_recipe_file_with_an_old_key_names_the_new_one_and_exits_2(partseg, tmp_path):
    old = Path(TINY).read_text(encoding="utf-8").replace("save_interval", "save_every")
    (tmp_path / "old.yaml").write_text(old, encoding="utf-8")
    ended = partseg("train", tmp_path / "old.yaml")
    line = f"error: {tmp_path / 'old.yaml'}: train.save_every has been renamed, use train.save_interval\n"
    assert (ended.code, ended.out, ended.err) == (2, "", line)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.batchsize=1", "unknown key train.batchsize; did you mean train.batch_size?"),
        ("loss.separatoin=soft", "unknown key loss.separatoin; did you mean loss.separation?"),
        ("trian.lr=1", "unknown key trian; did you mean train?"),
        # a key of another section, even where this one has a key that looks a little like it
        ("data.seed=1", "unknown key data.seed; did you mean train.seed?"),
        ("data.precision=fp32", "unknown key data.precision; did you mean train.precision?"),
        ("data.lr=1", "unknown key data.lr; did you mean train.lr?"),
        ("loss.flip=1", "unknown key loss.flip; did you mean data.flip?"),
        ("model.batch_size=1", "unknown key model.batch_size; did you mean train.batch_size?"),
        ("train.backbone=tiny", "unknown key train.backbone; did you mean model.backbone?"),
        (
            "model.qqqqqq=1",
            "unknown key model.qqqqqq; known are name, backbone, init, image_size, background_embedding, trainable, "
            "object_text_index",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_the_one_that_was_meant(override, message):
    with refused(f"{TINY}: {message}"):
        load_recipe(TINY, [override])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_needed(section, path):
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key in set(written[section]) - {"name"}:
        values = written | {section: {k: v for k, v in written[section].items() if k != key}}
        with refused(f"here: needs the key {section}.{key}; add it (recipes are complete)"):
            parse_recipe(values, "tiny", "here")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_section_is_needed(path):
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    for section in SECTIONS:
        values = {key: value for key, value in written.items() if key != section}
        with refused(f"here: needs the key {section}; add it (recipes are complete)"):
            parse_recipe(values, "tiny", "here")


# ---- values


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.shortest_edge=0", "data.shortest_edge must be >= 1, got 0"),
        ("data.longest_edge=0", "data.longest_edge must be >= 1, got 0"),
        ("data.flip=-0.5", "data.flip must be >= 0, got -0.5"),
        ("data.flip=1.5", "data.flip must be <= 1, got 1.5"),
        ("data.workers=-1", "data.workers must be >= 0, got -1"),
        ("model.image_size=31", "model.image_size must be >= 32, got 31"),
        ("loss.lambda_obj=-1", "loss.lambda_obj must be >= 0, got -1"),
        ("loss.lambda_part=-1e-9", "loss.lambda_part must be >= 0, got -1e-09"),
        ("loss.lambda_sep=-1", "loss.lambda_sep must be >= 0, got -1"),
        ("loss.lambda_enh=-1", "loss.lambda_enh must be >= 0, got -1"),
        ("loss.gamma=-0.1", "loss.gamma must be >= 0, got -0.1"),
        ("loss.gamma=1.1", "loss.gamma must be <= 1, got 1.1"),
        ("loss.tau=0", "loss.tau must be > 0, got 0"),
        ("loss.background_weight=-1", "loss.background_weight must be >= 0, got -1"),
        ("train.seed=-1", "train.seed must be >= 0, got -1"),
        ("train.iterations=0", "train.iterations must be >= 1, got 0"),
        ("train.batch_size=0", "train.batch_size must be >= 1, got 0"),
        ("train.micro_batch_size=0", "train.micro_batch_size must be >= 1, got 0"),
        ("train.lr=0", "train.lr must be > 0, got 0"),
        ("train.lr=nan", "train.lr must be finite, got nan"),
        ("train.weight_decay=-1", "train.weight_decay must be >= 0, got -1"),
        ("train.poly_power=-1", "train.poly_power must be >= 0, got -1"),
        ("train.clip_grad_norm=0", "train.clip_grad_norm must be > 0, got 0"),
        ("train.save_interval=0", "train.save_interval must be >= 1, got 0"),
        ("train.eval_interval=-1", "train.eval_interval must be >= 0, got -1"),
    ],
)
def test_a_value_out_of_bounds_is_refused(override, message):
    with refused(f"{TINY}: {message}"):
        load_recipe(TINY, [override])


@pytest.mark.parametrize(
    "override",
    [
        *("data.flip=0", "data.flip=1", "loss.gamma=1", "loss.gamma=0", "train.poly_power=0", "train.weight_decay=0"),
        *("data.workers=0", "train.seed=0", "model.image_size=32", "data.shortest_edge=1", "loss.lambda_sep=0"),
    ],
)
def test_a_value_on_its_bound_is_taken(override):
    section, key = override.split("=")[0].split(".")
    assert load_recipe(TINY, [override]).to_dict()[section][key] == float(override.split("=")[1])


@pytest.mark.parametrize("key", ["train.lr", "loss.lambda_sep", "loss.tau", "train.poly_power"])
def test_infinity_is_no_value(key):
    with pytest.raises(RecipeError, match=re.escape(key)):
        load_recipe(TINY, [f"{key}=.inf"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.lr=fast", "train.lr must be of type float, got 'fast'"),
        ("train.lr=", "train.lr must be of type float, got None"),
        ("train.lr=true", "train.lr must be of type float, got True"),
        ("train.lr=[1]", "train.lr must be of type float, got [1]"),
        ("train.iterations=1e3", "train.iterations must be of type int, got '1e3'"),
        ("train.iterations=10.0", "train.iterations must be of type int, got 10.0"),
        ("train.iterations=true", "train.iterations must be of type int, got True"),
        ("data.dataset=5", "data.dataset must be of type str, got 5"),
        ("data.dataset=null", "data.dataset must be of type str, got None"),
        ("data.root=5", "data.root must be of type str or null, got 5"),
        ("data.shortest_edge=wide", "data.shortest_edge must be of type int or null, got 'wide'"),
    ],
)
def test_a_value_of_another_type_is_refused(override, message):
    with refused(f"{TINY}: {message}"):
        load_recipe(TINY, [override])


CHOICES = {
    "data.train_channel_order": ["rgb", "bgr"],
    "data.unlabelled_objects": ["background", "ignore"],
    "model.backbone": ["ViT-B-16-quickgelu", "tiny", "nano"],
    "model.object_text_index": ["paper", "published"],
    "model.background_embedding": ["frozen", "learned"],
    "model.trainable": ["published", "decoder", "all"],
    "loss.mask_mean": ["paper", "published"],
    "loss.separation": ["soft", "hard"],
    "loss.parts_per_object": ["own", "image"],
    "loss.loss_mean": ["image", "batch"],
    "train.precision": ["auto", "fp32", "bf16", "fp16"],
    "train.select": ["last", "best"],
}


@pytest.mark.parametrize("key", CHOICES)
def test_a_choice_is_one_of_its_words(key):
    section, name = key.split(".")
    for word in CHOICES[key]:
        recipe = load_recipe(TINY, [f"{key}={word}", *(["train.eval_interval=1"] if word == "best" else [])])
        assert recipe.to_dict()[section][name] == word
    for wrong in ("Paper", 1, None, ["rgb"]):
        with refused(f"{TINY}: {key} must be one of {', '.join(CHOICES[key])}, got {wrong!r}"):
            load_recipe(TINY, [f"{key}={'null' if wrong is None else wrong}"])


STARTS = ["rd64-refined", "clip", "nano", "random"]
PATHS = ["runs/train/nano_clip-1", "last.safetensors", "./last", "a folder/b.safetensors", "C:/weights", "runs/"]


@pytest.mark.parametrize("init", [*STARTS, *PATHS])
@pytest.mark.parametrize("recipe", ["tiny", "cartoon_clipseg", "nano_start"])
def test_a_start_is_one_of_its_words_or_a_path(recipe, init):
    assert load_any_recipe(recipe, [f"model.init={init}"]).model.init == init


@pytest.mark.parametrize("wrong", ["Nano", "rd64", "safetensors", "last.pt", "", 1, None, ["nano"], True, 0.5])
def test_a_start_that_is_neither_a_word_nor_a_path_is_refused(wrong):
    rule = f"model.init must be one of {', '.join(STARTS)}, or the path of a checkpoint"
    with refused(f"{TINY}: {rule}, got {wrong!r}"):
        load_recipe(TINY, [f"model.init={yaml.safe_dump(wrong, default_flow_style=True).splitlines()[0]}"])


# ---- models


def clipseg(**changes: object) -> dict:
    """The model section of recipes/tiny.yaml turned into one of CLIPSeg."""
    section = raw()["model"] | {"name": "clipseg", "visual_adapter": True} | changes
    del section["object_text_index"]
    return section


@pytest.mark.parametrize("background", ["frozen", "learned", "none"])
@pytest.mark.parametrize("adapter", [True, False])
def test_a_clipseg_section_is_read(background, adapter):
    given = clipseg(background_embedding=background, visual_adapter=adapter)
    values = raw() | {"model": given, "loss": {"background_weight": 0.1, "loss_mean": "image"}}
    section = parse_recipe(values, "tiny", "here").model
    assert isinstance(section, CLIPSegSection)
    assert (section.background_embedding, section.visual_adapter) == (background, adapter)
    assert dataclasses.asdict(section) == given


def test_each_model_has_its_own_loss():
    assert type(load_recipe("tiny").loss) is type(load_recipe("pascal_zeroshot").loss) is LossSection
    assert load_recipe("pascal_clipseg").loss == CLIPSegLossSection(background_weight=0.05, loss_mean="image")


def test_a_loss_of_the_other_model_is_refused():
    with refused("here: unknown key loss.lambda_obj; known are background_weight, loss_mean"):
        parse_recipe(raw() | {"model": clipseg()}, "tiny", "here")
    with refused("here: needs the key loss.lambda_obj; add it (recipes are complete)"):
        parse_recipe(raw() | {"loss": {"background_weight": 0.1, "loss_mean": "image"}}, "tiny", "here")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("loss.background_weight=-1", "loss.background_weight must be >= 0, got -1"),
        ("loss.loss_mean=pixel", "loss.loss_mean must be one of image, batch, got 'pixel'"),
        ("train.micro_batch_size=3", "train.micro_batch_size must divide train.batch_size 4, got 3"),
        ("train.select=best", "train.select best needs train.eval_interval >= 1, got 0"),
    ],
)
def test_clipseg_keeps_the_rules_of_training(override, message):
    path = str(packaged("recipes") / "cartoon_clipseg.yaml")
    with refused(f"{path}: {message}"):
        load_recipe(path, [override])


def test_both_models_are_known_by_name():
    assert {name: kind.__name__ for name, kind in MODELS.items()} == {
        "partclipseg": "PartCLIPSegSection",
        "clipseg": "CLIPSegSection",
    }
    assert isinstance(parse_recipe(raw(), "tiny", "here").model, PartCLIPSegSection)


@pytest.mark.parametrize("name", ["catseg", "PartCLIPSeg", "", 1, None, True, ["clipseg"], {"a": 1}])
def test_an_unknown_model_is_refused_with_the_known_ones(name):
    with refused(f"here: model.name must be one of partclipseg, clipseg, got {name!r}"):
        parse_recipe(raw() | {"model": raw()["model"] | {"name": name}}, "tiny", "here")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (raw()["model"] | {"background_embedding": "none"}, "background_embedding must be one of frozen, learned, got"),
        (clipseg(background_embedding="zero"), "background_embedding must be one of frozen, learned, none, got 'zero'"),
        (clipseg(visual_adapter="on"), "visual_adapter must be of type bool, got 'on'"),
        (clipseg(visual_adapter=1), "visual_adapter must be of type bool, got 1"),
    ],
)
def test_a_switch_that_a_model_does_not_have_is_refused(section, message):
    with pytest.raises(RecipeError, match=f"^here: model.{re.escape(message)}"):
        parse_recipe(raw() | {"model": section}, "tiny", "here")


@pytest.mark.parametrize(
    ("section", "key"),
    [
        (raw()["model"] | {"visual_adapter": True}, "visual_adapter"),
        (clipseg() | {"object_text_index": "paper"}, "object_text_index"),
    ],
)
def test_a_key_of_the_other_model_is_unknown(section, key):
    other = "visual_adapter" if key == "object_text_index" else "object_text_index"
    known = f"name, backbone, init, image_size, background_embedding, trainable, {other}"
    with refused(f"here: unknown key model.{key}; known are {known}"):
        parse_recipe(raw() | {"model": section}, "tiny", "here")


@pytest.mark.parametrize("section", [None, 5, "tiny", []])
def test_a_model_section_of_something_else_is_refused(section):
    with refused(f"here: model must be a section of keys, got {section!r}"):
        parse_recipe(raw() | {"model": section}, "tiny", "here")


def test_a_model_section_without_a_name_asks_for_it():
    section = raw()["model"]
    del section["name"]
    with refused("here: needs the key model.name; add it (recipes are complete)"):
        parse_recipe(raw() | {"model": section}, "tiny", "here")


# ---- other tasks


def written(name: str) -> dict:
    return yaml.safe_load((packaged("recipes") / f"{name}.yaml").read_text(encoding="utf-8"))


def test_a_recipe_is_of_the_task_that_it_names():
    kinds = {path.stem: type(load_any_recipe(str(path))) for path in RECIPES}
    assert kinds == dict.fromkeys(kinds, Recipe) | {"nano_clip": CaptionRecipe, "nano_start": PhraseRecipe}


@pytest.mark.parametrize(("name", "task"), OTHER_TASKS.items())
def test_a_recipe_of_another_task_is_refused_where_a_model_of_parts_is_wanted(name, task):
    for given in (name, f"recipes/{name}.yaml"):
        with refused(f"{given}: must train a model of parts, got task {task}; use it with `partseg train`"):
            load_recipe(given)


def test_the_usual_task_may_be_named():
    recipe = parse_recipe({"task": "parts", **raw()}, "tiny", "here")
    assert recipe == load_recipe("tiny")
    assert "task" not in recipe.to_dict()


@pytest.mark.parametrize("task", ["caption", "", "Parts", None, 5, True, ["parts"], {"parts": 1}])
def test_an_unknown_task_is_refused_with_the_known_ones(task):
    with refused(f"here: task must be one of parts, captions, phrases, got {task!r}"):
        parse_recipe({"task": task, **raw()}, "tiny", "here")


def test_sections_of_another_task_are_refused():
    with refused("here: unknown key data.flips; did you mean data.flip?"):
        parse_recipe(written("nano_clip") | {"data": written("nano_clip")["data"] | {"flips": 1}}, "nano", "here")
    with refused("here: needs the key data.phrases; add it (recipes are complete)"):
        parse_recipe(
            written("nano_start") | {"data": without(written("nano_start")["data"], "phrases")}, "nano", "here"
        )
    with refused("here: model.name must be one of clipseg, got 'clip'"):
        section = written("nano_start")["model"] | {"name": "clip"}
        parse_recipe(written("nano_start") | {"model": section}, "nano", "here")
    with refused("here: model.name must be one of clip, got 'clipseg'"):
        section = written("nano_clip")["model"] | {"name": "clipseg"}
        parse_recipe(written("nano_clip") | {"model": section}, "nano", "here")


def without(section: dict, key: str) -> dict:
    return {name: value for name, value in section.items() if name != key}


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("nano_clip", "data.flip=1.5", "data.flip must be <= 1, got 1.5"),
        ("nano_clip", "data.objects=-0.1", "data.objects must be >= 0, got -0.1"),
        ("nano_clip", "data.objects=1.1", "data.objects must be <= 1, got 1.1"),
        ("nano_clip", "data.parts=2", "data.parts must be <= 1, got 2"),
        ("nano_clip", "data.workers=-1", "data.workers must be >= 0, got -1"),
        ("nano_clip", "model.image_size=31", "model.image_size must be >= 32, got 31"),
        ("nano_clip", "model.drop_tokens=0.96", "model.drop_tokens must be <= 0.95, got 0.96"),
        ("nano_clip", "model.drop_tokens=-1", "model.drop_tokens must be >= 0, got -1"),
        (
            "nano_clip",
            "model.backbone=micro",
            "model.backbone must be one of ViT-B-16-quickgelu, tiny, nano, got 'micro'",
        ),
        ("nano_clip", "loss.scale=0", "loss.scale must be > 0, got 0"),
        ("nano_clip", "loss.max_scale=0", "loss.max_scale must be > 0, got 0"),
        ("nano_clip", "train.warmup=-1", "train.warmup must be >= 0, got -1"),
        ("nano_clip", "train.iterations=0", "train.iterations must be >= 1, got 0"),
        ("nano_clip", "train.lr=0", "train.lr must be > 0, got 0"),
        ("nano_clip", "train.clip_grad_norm=.inf", "train.clip_grad_norm must be finite, got inf"),
        ("nano_clip", "train.warmup=1.5", "train.warmup must be of type int, got 1.5"),
        ("nano_clip", "train.precision=bf8", "train.precision must be one of auto, fp32, bf16, fp16, got 'bf8'"),
        (
            "nano_clip",
            "data.scale=1",
            "unknown key data.scale; did you mean loss.scale?",
        ),
        ("nano_start", "data.phrases=0", "data.phrases must be >= 1, got 0"),
        ("nano_start", "data.absent=1.5", "data.absent must be <= 1, got 1.5"),
        ("nano_start", "data.parts=-1", "data.parts must be >= 0, got -1"),
        ("nano_start", "loss.overlap=-1", "loss.overlap must be >= 0, got -1"),
        (
            "nano_start",
            "model.init=nan0",
            "model.init must be one of rd64-refined, clip, nano, random, or the path of a checkpoint, got 'nan0'",
        ),
        ("nano_start", "train.save_interval=0", "train.save_interval must be >= 1, got 0"),
        ("nano_start", "train.batchsize=1", "unknown key train.batchsize; did you mean train.batch_size?"),
    ],
)
def test_a_key_or_value_of_another_task_outside_its_rule_is_refused(name, override, message):
    path = str(packaged("recipes") / f"{name}.yaml")
    with refused(f"{path}: {message}"):
        load_any_recipe(path, [override])


@pytest.mark.parametrize(
    ("name", "override"),
    [
        *(("nano_clip", text) for text in ("model.drop_tokens=0.95", "model.drop_tokens=0", "train.warmup=0")),
        *(("nano_clip", text) for text in ("data.objects=0", "data.objects=0.55", "data.parts=0", "data.parts=0.75")),
        *(("nano_start", text) for text in ("data.phrases=1", "data.absent=0", "data.absent=1", "loss.overlap=0")),
    ],
)
def test_a_value_of_another_task_on_its_bound_is_taken(name, override):
    section, key = override.split("=")[0].split(".")
    assert load_any_recipe(name, [override]).to_dict()[section][key] == float(override.split("=")[1])


# ---- rules that tie keys together


@pytest.mark.parametrize(("batch", "micro"), [(4, 3), (4, 8), (6, 4)])
def test_a_micro_batch_must_divide_the_batch(batch, micro):
    with refused(f"{TINY}: train.micro_batch_size must divide train.batch_size {batch}, got {micro}"):
        load_recipe(TINY, [f"train.batch_size={batch}", f"train.micro_batch_size={micro}"])


def test_a_pooled_loss_needs_the_whole_batch_at_once():
    pooled = ["loss.loss_mean=batch", "train.batch_size=4"]
    message = "loss.loss_mean batch pools the whole batch, so train.micro_batch_size must be 4, got 2"
    with refused(f"{TINY}: {message}"):
        load_recipe(TINY, [*pooled, "train.micro_batch_size=2"])
    assert load_recipe(TINY, [*pooled, "train.micro_batch_size=4"]).loss.loss_mean == "batch"


def test_a_micro_batch_of_any_divisor_serves_a_loss_by_image():
    sizes = [
        load_recipe(TINY, ["train.batch_size=6", f"train.micro_batch_size={n}"]).train.micro_batch_size
        for n in (1, 2, 3, 6)
    ]
    assert sizes == [1, 2, 3, 6]


def test_select_best_needs_evaluations():
    with refused(f"{TINY}: train.select best needs train.eval_interval >= 1, got 0"):
        load_recipe(TINY, ["train.select=best", "train.eval_interval=0"])
    assert load_recipe(TINY, ["train.select=best", "train.eval_interval=5"]).train.select == "best"


# ---- files


def test_an_unknown_recipe_is_refused_with_the_nearest_one():
    known = ", ".join(path.stem for path in RECIPES)
    with refused(f"pascal_zeroshoot: no such recipe; packaged are {known}: did you mean pascal_zeroshot?"):
        find_recipe("pascal_zeroshoot")


def test_a_file_comes_before_the_packaged_recipe_of_its_name(tmp_path, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(Path(TINY).read_text(encoding="utf-8").replace("seed: 0", "seed: 77"))
    monkeypatch.chdir(tmp_path)
    assert load_recipe("tiny.yaml").train.seed == 77
    assert load_recipe("tiny").train.seed == load_recipe("recipes/tiny.yaml").train.seed == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must hold the sections data, model, loss, train, got None"),
        ("- data", "must hold the sections data, model, loss, train, got ['data']"),
        ("data: 5\nmodel:\nloss:\ntrain:\n", "data must be a section of keys, got 5"),
        (yaml.safe_dump(raw() | {"data": 5}), "data must be a section of keys, got 5"),
        ("task: captions\ndata: 5\nmodel:\nloss:\ntrain:\n", "data must be a section of keys, got 5"),
        ("task: phrases", "needs the key data; add it (recipes are complete)"),
        ("5x: 1", "unknown key 5x; known are data, model, loss, train"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, text, message):
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with refused(f"{path}: {message}"):
        load_recipe(str(path))


@pytest.mark.parametrize("content", [b"data: [", b"\xff\xfe"])
def test_an_unreadable_file_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "odd.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=rf"^{re.escape(str(path))}: invalid YAML \(.+\); fix the file$"):
        load_recipe(str(path))
