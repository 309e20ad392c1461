"""Errors of space files: each names the rule, the value and the line."""

from pathlib import Path

import pytest

from lkca_search.errors import Problem, SpaceFileError, UserError
from lkca_search.spec.space_file import read_space_file
from tests.support.space_files import VALID, Read

PARAMETERS = VALID[VALID.index("parameters:") : VALID.index("training:")]
WITH_HINTS: list[tuple[str, str, str, list[str]]] = [
    ("[crop, flip]", "[crop, 3]", "5", ["data.augment.1", "valid string", "got 3"]),
    ("[crop, flip]", "[crop, [flip]]", "5", ["data.augment.1", "valid string", "got ['flip']"]),
    ("[lkca, vit]", "[lkca, vit]\n  augment: [none, [crop, 3]]", "8", ["augment must have names among", "got '3'"]),
    ("{value: 64}", "{value: 64}\n  augment: {value: [crop, [3]]}", "13", ["augment must have names", "got '[3]'"]),
    (
        VALID[VALID.index("parameters:") : VALID.index("training:")],
        "parameters:\n",
        "9",
        ["got nothing; give its keys"],
    ),
    (
        "resources:\n  gpu: 0.25\n",
        "resources:\n",
        "20",
        ["got nothing; give its keys, or write resources: {} for none"],
    ),
    ("  seed: 7", "  goal: minimise", "19", ["search.goal", "got 'minimise'; did you mean minimize?"]),
    ("  seed: 7", "  goal: [minimise]", "19", ["search.goal.0", "got 'minimise'; did you mean minimize?"]),
    ("when: {family: [lkca]}", "when: {family: [lkac]}", "10", ["`when` can never hold: 'lkac'", "did you mean lkca?"]),
    (
        "when: {family: [lkca]}",
        "wenn: {family: [lkca]}",
        "10",
        ["kernel_size.wenn; did you mean when?"],
    ),
    ("[lkca, vit]", "{levels: [lkca, vit], wenn: {}}", "7", ["unknown key factors.family.wenn; did you mean when?"]),
    ("{value: 64}", "{vaule: 64}", "12", ["exactly one of the keys", "got vaule; did you mean value?"]),
    ("training:", "exclude: [{family: lkac}]\ntraining:", "14", ["exclude must list levels", "did you mean lkca?"]),
    ("training:", "exclude: [{famly: vit}]\ntraining:", "14", ["exclude must name factors", "did you mean family?"]),
    ("training:", "design: one_at_a_time\nbase: {family: lkac}\ntraining:", "15", ["got 'lkac'; did you mean lkca?"]),
    (
        "{value: 64}",
        "{value: 64}\n  optimizer: {int: [1, 3]}",
        "13",
        ["must have `choice` or `value`", "from 1 to 3"],
    ),
    ("{value: 64}", "{value: 64}\n  schedule: {float: [0.0, 1.0]}", "13", ["schedule must have `choice` or `value`"]),
    ("[3, 5]", "[3, [5, 7]]", "10", ["parameters.kernel_size.choice.1", "finite number", "got [5, 7]"]),
    (
        "resources:",
        "storage: /dev/null\nresources:",
        "20",
        ["must be a folder, got '/dev/null'", "another"],
    ),
    ("resources:", "storage: file:///dev/null/x\nresources:", "20", ["storage must be a folder", "/dev/null is none"]),
]
"""Messages that show lists as the file has them, and the name that is meant."""
NEXT_STEPS: list[tuple[str, str, str, list[str]]] = [
    ("[3, 5]", "[3, 5], log: false", "10", ["kernel_size.log: `choice` takes no `log`, only int and float", "remove"]),
    ("log: true", "step: 1", "13", ["learning_rate.step: `float` takes no `step`, only int has steps; remove it"]),
    ("validation: 0.2", "validation: '0.2'", "4", ["got '0.2'; remove the quotes"]),
    ("validation: 0.2", "validation: 10%", "4", ["got '10%'; write 0.1 for 10%"]),
    ("validation: 0.2", "validation: '0,2'", "4", ["got '0,2'; write 0.2"]),
    ("[0.1, 1]", "[10%, 1]", "8", ["got '10%'; write 0.1 for 10%"]),
    ("trials_per_cell: 6", 'trials_per_cell: "6"', "18", ["got '6'; remove the quotes"]),
    ("trials_per_cell: 6", "trials_per_cell: 6.0", "18", ["got 6.0; write 6 ("]),
    ("steps: 100", "steps: 2k", "15", ["got '2k'; write 2000 for 2k"]),
    ("  width: {value: 64}", "  match_parameters: {value: 45K}", "12", ["got '45K'; write 45000 for 45K"]),
    ("  width: {value: 64}", "  match_parameters: {value: 45 k}", "12", ["got '45 k'; write 45000 for 45 k"]),
    ("log: true", "log: 'true'", "13", ["got 'true'; write true"]),
    ("resources:\n  gpu: 0.25", "confirm: true", "20", ["write confirm: {draws: 5, seeds: 2}, or confirm: {} for its"]),
    ("resources:\n  gpu: 0.25", "confirm: false", "20", ["; remove confirm for none"]),
    ("resources:\n  gpu: 0.25", "resources: 2", "20", ["got 2; write resources: {cpu: 1}, or resources: {}"]),
    ("resources:", "confirm: {draw: 5}\nresources:", "20", ["unknown key confirm.draw; did you mean draws? ("]),
    ("resources:", "confirm: {seed: 5}\nresources:", "20", ["did you mean seeds?; or write it as search.seed ("]),
    ("  depth:", "\tdepth:", "11", ["'\\t' that cannot start any token; use spaces in place of tabs"]),
    ("  depth:", "depth:", "12", ["equal indentation: compare this line with line 11 ("]),
    ("  width:", " width:", "12", ["equal indentation: compare this line with line 11 ("]),
    ("when: {family: [lkca]}}", "when: {family: [lkca]}", "10", ["in line 11; close the { of this line by }"]),
    ("[crop, flip]", "[crop, flip", "5", ["in line 6; close the [ of this line by ]"]),
    ("[crop, flip]", "[crop, flip]]", "5", ["found ']'; remove it"]),
    ("dataset: cifar10", "dataset: 'cifar10", "3", ["end the text that begins here by its quote"]),
    ("dataset: cifar10", "dataset: folder: photos", "3", ["put quotes around a text with a colon"]),
    ("  batch_size: 32", "  batch_size:32", "16", ["write a key as `key: value`, with a space after the colon"]),
]
"""Messages whose last part is the next step, at the line that the step changes."""
ERRORS: list[tuple[str, str, str, list[str]]] = [
    # text of VALID, its replacement, line of the error, parts of the message
    ("steps: 100", "steps: 2E-3", "15", ["training.steps", "valid integer", "got 0.002"]),
    ("steps: 100", "steps: -1.5e5", "15", ["training.steps", "equal to 1", "got -150000"]),
    ("[1.0e-4,", "[1e400,", "13", ["learning_rate.float.0", "finite", "got inf"]),
    ("[lkca, vit]", "[lkca, vitt]", "7", ["unknown family 'vitt'; did you mean vit?"]),
    ("[lkca, vit]", "[lkac, vit]", "7", ["unknown family 'lkac'; did you mean lkca?"]),
    ("  seed: 7", "  sampler: tpee", "19", ["got 'tpee'; did you mean tpe?"]),
    ("  seed: 7", "  pruner: medain", "19", ["got 'medain'; did you mean median?"]),
    ("  seed: 7", "  metric: acc", "19", ["got 'acc'; did you mean val_accuracy?"]),
    ("  seed: 7", "  epochs: 3", "19", ["unknown key search.epochs; write it as training.epochs"]),
    ("  batch_size: 32", "  learning_rate: 0.1", "16", ["factors.learning_rate or parameters.learning_rate"]),
    ("resources:", "lr: 0.1\nresources:", "20", ["unknown key lr; did you mean learning_rate? write it below"]),
    ("resources:", "trials: 4\nresources:", "20", ["did you mean trials_per_cell? write it as search.trials_per_cell"]),
    ("  width: {value: 64}", "  lr: {value: 0.1}", "12", ["unknown name 'lr'; did you mean learning_rate?"]),
    ("{value: 64}", "64", "12", ["exactly one of the keys", "got 64; write {value: 64} for this value alone"]),
    ("{value: 64}", "[64, 32]", "12", ["got [64, 32]; write {choice: [64, 32]} for these values"]),
    ("[lkca, vit]", "lkca", "7", ["factors.family", "must be a list", "got 'lkca'; write [lkca]"]),
    ("resources:", "resorces:", "20", ["unknown key resorces", "did you mean resources?"]),
    ("  seed: 7", "  seeed: 7", "19", ["unknown key search.seeed", "did you mean seed?"]),
    ("  validation:", "  validaton:", "4", ["unknown key data.validaton", "did you mean validation?"]),
    ("  batch_size:", "  batchsize:", "16", ["unknown key training.batchsize", "did you mean batch_size?"]),
    ("resources:", "keep: {weights: replicate}\nresources:", "20", ["keep.weights", "did you mean replicates?"]),
    ("resources:", "keep: {weigths: none}\nresources:", "20", ["unknown key keep.weigths", "did you mean weights?"]),
    ("resources:", "keep: [none]\nresources:", "20", ["keep: must be a mapping, got"]),
    ("  gpu:", "  gpus:", "21", ["unknown key resources.gpus", "did you mean gpu?"]),
    ("step: 2", "stride: 2", "11", ["unknown key parameters.depth.stride"]),
    ("{value: 64}", "{value: 64, log: true}", "12", ["unknown key parameters.width.log"]),
    ("  width:", "  widht:", "12", ["unknown name 'widht'", "known names: family, dataset, data_fraction"]),
    ("  data_fraction:", "  fraction:", "8", ["unknown name 'fraction'", "known names"]),
    ("  seed: 7", "  seed: 7\n  seed: 8", "20", ["must appear once per mapping, got 'seed' twice"]),
    ("training:", "factors:", "14", ["got 'factors' twice"]),
    ("{value: 64}", "{value: 64, value: 32}", "12", ["got 'value' twice"]),
    ("  dataset: cifar10\n", "", "2", ["required key data.dataset is missing"]),
    ("  trials_per_cell: 6\n", "", "17", ["required key search.trials_per_cell is missing"]),
    ("resources:\n  gpu: 0.25\n", "extra: 1\n", "20", ["unknown key extra (space"]),
    ("dataset: cifar10", "dataset: 3", "3", ["data.dataset", "valid string", "got 3"]),
    ("dataset: cifar10", "dataset: 2024-01-31", "3", ["YAML reads 2024-01-31 as a date", "write '2024-01-31'"]),
    ("dataset: cifar10", "dataset: ''", "3", ["data.dataset", "at least 1", "got ''"]),
    ("validation: 0.2", "validation: 1.0", "4", ["data.validation", "less than 1", "got 1.0"]),
    ("validation: 0.2", "validation: .nan", "4", ["data.validation", "finite", "got nan"]),
    ("[crop, flip]", "[crop, flop]", "5", ["data.augment", "crop, crop_reflect,", "got 'flop'; did you mean flip?"]),
    ("[crop, flip]", "[flip, crop, flip]", "5", ["data.augment", "each augmentation once", "'flip', 'crop', 'flip'"]),
    ("[crop, flip]", "[crop, crop_reflect]", "5", ["data.augment", "one of crop and crop_reflect, got both"]),
    ("[crop, flip]", "[rand_augment, trivial_augment]", "5", ["one of trivial_augment and rand_augment, got both"]),
    ("dataset: cifar10", "dataset: svhn", "5", ["augment must not have flip for svhn"]),
    ("validation: 0.2", "scale_validation: 1", "4", ["data.scale_validation", "valid boolean", "got 1"]),
    ("data_fraction: [0.1, 1]", "images_per_class: [10, 0]", "8", ["images_per_class", "greater than or equal to 1"]),
    (
        "width: {value: 64}",
        "images_per_class: {value: 10, when: {family: [vit]}}",
        "12",
        ["at most one of data_fraction and images_per_class, got both"],
    ),
    ("[crop, flip]", "3", "5", ["data.augment", "must be a list", "got 3"]),
    ("  trials_per_cell: 6", "  trials_per_cell: '6'", "18", ["search.trials_per_cell", "valid integer", "got '6'"]),
    ("  trials_per_cell: 6", "  trials_per_cell: 6.0", "18", ["search.trials_per_cell", "valid integer", "got 6.0"]),
    ("  trials_per_cell: 6", "  trials_per_cell: yes", "18", ["search.trials_per_cell", "valid integer", "got True"]),
    ("  trials_per_cell: 6", "  trials_per_cell: 0", "18", ["search.trials_per_cell", "equal to 1", "got 0"]),
    (
        "  seed: 7",
        "  sampler: grit",
        "19",
        ["search.sampler", "sampler must be one of tpe, random, qmc, gp, cmaes", "got 'grit'"],
    ),
    ("  seed: 7", "  sampler: 'optunahub:'", "19", ["search.sampler", "sampler must be one of", "got 'optunahub:'"]),
    ("  seed: 7", "  sampler: not a.path", "19", ["search.sampler", "sampler must be one of", "got 'not a.path'"]),
    ("  seed: 7", "  sampler: ''", "19", ["search.sampler", "at least 1 character", "got ''"]),
    ("  seed: 7", "  sampler: 3", "19", ["search.sampler", "got 3"]),
    ("  seed: 7", "  sampler: {seed: 3}", "19", ["required key search.sampler.name is missing"]),
    ("  seed: 7", "  sampler: {name: tpe, x: .inf}", "19", ["search.sampler.x", "finite number", "got inf"]),
    ("  seed: 7", "  sampler: {name: tpe, x: 2024-01-31}", "19", ["YAML reads 2024-01-31 as a date"]),
    (
        "  seed: 7",
        "  sampler: grid",
        "13",
        ["learning_rate must not be a range of floats with sampler grid", "make it a choice"],
    ),
    (
        "  seed: 7",
        "  pruner: medium",
        "19",
        ["search.pruner", "pruner must be one of none, median, hyperband", "got 'medium'"],
    ),
    (
        "  seed: 7",
        "  metric: [val_accuracy, flops]\n  goal: [maximize, minimize]\n  pruner: median",
        "21",
        ["pruner must be none with several metrics", "got median"],
    ),
    (
        "  seed: 7",
        "  metric: [val_accuracy, flops]\n  goal: [maximize, minimize]\n  sampler: cmaes",
        "21",
        ["sampler cmaes must have one metric"],
    ),
    ("[lkca, vit]", "", "7", ["factors.family", "a list of levels, or a mapping", "got nothing"]),
    ("[lkca, vit]", "{when: {data_fraction: [1]}}", "7", ["required key factors.family.levels is missing"]),
    ("[lkca, vit]", "{levels: []}", "7", ["factors.family.levels", "at least 1 item"]),
    ("[lkca, vit]", "{levels: [lkca, vit], wen: {}}", "7", ["unknown key factors.family.wen"]),
    (
        "[lkca, vit]",
        "{levels: [lkca, vit], when: {depth: [2]}}",
        "7",
        ["`when` of a factor must name factors, got 'depth'"],
    ),
    (
        "[lkca, vit]",
        "{levels: [lkca, vit], when: {data_fraction: [0.2]}}",
        "7",
        ["`when` can never hold: 0.2 is not a level of factor `data_fraction`"],
    ),
    (
        "[lkca, vit]",
        "{levels: [lkca, vit], when: {family: [vit]}}",
        "7",
        ["must not form a cycle, got family -> family"],
    ),
    (
        "[0.1, 1]",
        "[0.1, 1]\n  match_parameters: [1.0M, 1000k]",
        "9",
        ["levels must be distinct", "[1000000, 1000000]"],
    ),
    (
        "[0.1, 1]",
        "[0.1, 1]\n  draw: {levels: [0, 1], when: {family: [vit], num_heads: [4]}}\n"
        "  num_heads: {levels: [4], when: {family: [lkca]}}",
        "9",
        ["every level must be in a cell", "draw in [0, 1]"],
    ),
    ("training:", "design: cross\ntraining:", "14", ["design", "'crossed' or 'one_at_a_time'", "got 'cross'"]),
    ("training:", "desing: crossed\ntraining:", "14", ["unknown key desing", "did you mean design?"]),
    ("training:", "base: {family: vit}\ntraining:", "14", ["base must be left out of a crossed design"]),
    ("training:", "design: one_at_a_time\nbase: {family: cnn}\ntraining:", "15", ["must be one of its", "'cnn'"]),
    ("training:", "design: one_at_a_time\nbase: {depth: 2}\ntraining:", "15", ["base must name factors, got 'depth'"]),
    (
        "training:",
        "design: one_at_a_time\nbase: {data_fraction: 1}\ntraining:",
        "15",
        ["base must not name data_fraction", "data_fraction is crossed"],
    ),
    ("training:", "design: one_at_a_time\nbase: [lkca]\ntraining:", "15", ["base", "must be a mapping"]),
    (
        "[0.1, 1]",
        "[0.1, 1]\n  num_heads: {levels: [4, 8], when: {family: [vit]}}\ndesign: one_at_a_time",
        "9",
        ["no cell of this design has num_heads in [8]"],
    ),
    ("training:", "exclude: {family: vit}\ntraining:", "14", ["exclude", "must be a list"]),
    ("training:", "exclude: [vit]\ntraining:", "14", ["exclude.0", "must be a mapping", "got 'vit'"]),
    ("training:", "exclude: [{}]\ntraining:", "14", ["must name at least one factor"]),
    ("training:", "exclude: [{family: []}]\ntraining:", "14", ["exclude.0.family", "at least 1 item"]),
    (
        "training:",
        "exclude:\n  - {family: cnn}\ntraining:",
        "15",
        ["exclude must list levels of factor `family`, got ['cnn']"],
    ),
    ("training:", "exclude:\n  - {depth: 2}\ntraining:", "15", ["exclude must name factors, got 'depth'"]),
    (
        "training:",
        "exclude:\n  - {family: [lkca, vit]}\ntraining:",
        "14",
        ["must leave at least one cell", "covers all 4"],
    ),
    (
        "[0.1, 1]",
        "[0.1, 1]\n  num_heads: {levels: [4, 8], when: {family: [vit]}}\n"
        "exclude:\n  - {family: vit}\n  - {family: lkca, num_heads: 4}",
        "12",
        ["an entry of exclude must cover at least one cell, and this one covers none"],
    ),
    ("  seed: 7", "  goal: minimize", "17", ["goal of metric val_accuracy must be maximize", "got minimize"]),
    (
        "  seed: 7",
        "  metric: val_loss\n  goal: maximize",
        "17",
        ["goal of metric val_loss must be minimize", "got maximize"],
    ),
    ("  steps: 100\n", "", "14", ["exactly one of epochs, steps, samples", "got none"]),
    ("  steps: 100", "  steps: 100\n  epochs: 2", "14", ["exactly one of", "got epochs and steps"]),
    (
        "  steps: 100",
        "  steps: 100\n  min_steps: 30",
        "16",
        ["training.min_steps: min_steps must be given with epochs, whose steps it bounds", "got 30 without epochs"],
    ),
    (
        "  steps: 100",
        "  samples: 100\n  max_steps: 30",
        "16",
        ["max_steps must be given with epochs", "got 30"],
    ),
    (
        "  steps: 100",
        "  epochs: 2\n  min_steps: 50\n  max_steps: 30",
        "17",
        ["training.max_steps: max_steps must be at least min_steps (50), got 30"],
    ),
    ("  steps: 100", "  epochs: 2\n  min_steps: 0", "16", ["training.min_steps", "equal to 1", "got 0"]),
    ("  gpu: 0.25", "  gpu: 2", "20", ["gpu must be at most 1, since a trial uses one device", "got 2.0"]),
    ("  gpu: 0.25", "  gpu: -0.5", "21", ["resources.gpu", "equal to 0", "got -0.5"]),
    ("  gpu: 0.25", "  gpu: some", "21", ["resources.gpu", "'auto'", "got 'some'"]),
    ("  gpu: 0.25", "  custom: {a100: 0}", "21", ["resources.custom.a100", "0.0001", "got 0"]),
    ("  gpu: 0.25", "  gpu_memory: 24", "20", ["resources: gpu_memory must be left out unless gpu is auto, got gpu 0"]),
    ("resources:\n  gpu: 0.25", "resources: 1", "20", ["resources", "must be a mapping", "got 1"]),
    ("factors:\n  family: [lkca, vit]\n  data_fraction: [0.1, 1]", "factors: 3", "6", ["must be a mapping", "got 3"]),
    ("[lkca, vit]", "[]", "7", ["factors.family", "at least 1 item"]),
    ("[lkca, vit]", "[lkca, lkca]", "7", ["levels must be distinct", "['lkca', 'lkca']"]),
    ("[0.1, 1]", "[1.0, 1]", "8", ["levels must be distinct", "[1.0, 1]"]),
    ("[0.1, 1]", "[0.1, 1.5]", "8", ["data_fraction", "less than or equal to 1", "got 1.5"]),
    ("[0.1, 1]", "\n  - 0.1\n  - '1'", "10", ["data_fraction", "valid number", "got '1'"]),
    ("[0.1, 1]", "[.inf, 1]", "8", ["factors.data_fraction.0", "finite number", "got inf"]),
    ("[0.1, 1]", "[0.1, null]", "8", ["factors.data_fraction.1", "finite number", "got nothing"]),
    ("[0.1, 1]", "[[0.1], 1]", "8", ["factors.data_fraction.0", "finite number, text, true or false"]),
    ("{value: 64}", "{}", "12", ["parameters.width", "exactly one of the keys choice, int, float, value"]),
    ("{value: 64}", "{value: 64, choice: [64]}", "12", ["parameters.width", "exactly one of the keys"]),
    ("{value: 64}", "{bounds: [32, 64]}", "12", ["parameters.width", "exactly one of the keys"]),
    ("{value: 64}", "{value: }", "12", ["parameters.width.value", "finite number", "got nothing"]),
    ("{value: 64}", "{value: '64'}", "12", ["width", "valid integer", "got '64'"]),
    ("{value: 64}", "{value: 0}", "12", ["width", "equal to 1", "got 0"]),
    ("{value: 64}", "{float: [32.0, 64.0]}", "12", ["width", "valid integer", "got 32.0"]),
    ("[3, 5]", "[]", "10", ["parameters.kernel_size.choice", "at least 1 item"]),
    ("[3, 5]", "[3, 3]", "10", ["choice must have distinct values", "[3, 3]"]),
    ("[3, 5]", "[3, [5]]", "10", ["parameters.kernel_size.choice.1", "finite number", "got [5]"]),
    ("[2, 8]", "[8, 2]", "11", ["the first bound must be below the second", "[8, 2]"]),
    ("[2, 8]", "[8, 8]", "11", ["the first bound must be below the second", "[8, 8]"]),
    ("[2, 8]", "[2]", "11", ["required item parameters.depth.int.1 is missing"]),
    ("[2, 8]", "[2, 4, 8]", "11", ["parameters.depth.int", "at most 2 items"]),
    ("[2, 8]", "[2, 8.0]", "11", ["parameters.depth.int.1", "valid integer", "got 8.0"]),
    ("[2, 8]", "[0, 8]", "11", ["depth", "equal to 1", "got 0"]),
    ("step: 2", "step: 0", "11", ["parameters.depth.step", "equal to 1", "got 0"]),
    ("step: 2", "step: 2, log: true", "11", ["step must be 1 in a logarithmic range", "got 2"]),
    ("[1.0e-4, 1.0e-2]", "[0, 1.0e-2]", "13", ["the first bound of a logarithmic range must be above 0", "got 0.0"]),
    (
        "[1.0e-4, 1.0e-2]",
        "[5.0e-324, 1.0e-2]",
        "13",
        ["the ratio of the bounds", "at most 1e308", "got [5e-324, 0.01]"],
    ),
    ("[1.0e-4, 1.0e-2]", "[1.0e-4, .inf]", "13", ["parameters.learning_rate.float.1", "finite", "got inf"]),
    ("log: true", "log: 'yes'", "13", ["parameters.learning_rate.log", "valid boolean", "got 'yes'"]),
    (
        "when: {family: [lkca]}",
        "when: {famly: [lkca]}",
        "10",
        ["`when` must name a factor or a parameter, got 'famly'"],
    ),
    (
        "when: {family: [lkca]}",
        "when: {pooling: [mean]}",
        "10",
        ["`when` must name a factor or a parameter, got 'pooling'"],
    ),
    (
        "when: {family: [lkca]}",
        "when: {family: [cnn]}",
        "10",
        ["`when` can never hold: 'cnn' is not a level of factor `family`"],
    ),
    (
        "when: {family: [lkca]}",
        "when: {depth: [2, 3]}",
        "10",
        ["every value of `when` must be possible: 3 is not a value of parameter `depth`"],
    ),
    ("when: {family: [lkca]}", "when: {family: lkca}", "10", ["kernel_size.when.family", "must be a list", "'lkca'"]),
    ("when: {family: [lkca]}", "when: {family: []}", "10", ["kernel_size.when.family", "at least 1 item"]),
    ("when: {family: [lkca]}", "when: [family]", "10", ["kernel_size.when", "must be a mapping"]),
    ("when: {family: [lkca]}", "when: {kernel_size: [3]}", "10", ["cycle", "kernel_size -> kernel_size"]),
    ("  data_fraction: [0.1, 1]", "  depth: [2, 4]", "11", ["depth must be either a factor or a parameter, got both"]),
    ("[3, 5]", "[3, 5", "10", ["not YAML", "expected ',' or ']'"]),
    ("[crop, flip]", "*nowhere", "5", ["not YAML", "undefined alias 'nowhere'"]),
    ("data:\n", "data: &data\n  again: *data\n", "2", ["an anchor must not contain itself"]),
    ("  dataset: cifar10", "  3: cifar10", "3", ["a key must be text", "got 3"]),
    ("  dataset: cifar10", "  on: cifar10", "3", ["a key must be text", "got True"]),
    ("  dataset: cifar10", "  ? [a, b]\n  : cifar10", "3", ["a key must be text", "got a list"]),
    ("  dataset: cifar10", "  <<: cifar10", "3", ["a merge key (<<) must have a mapping"]),
    ("  dataset: cifar10", "  <<: [cifar10]", "3", ["a merge key (<<) must have a mapping"]),
    ("data:\n", "data: &data\n  <<: *data\n", "3", ["an anchor must not contain itself"]),
    ("dataset: cifar10", "dataset: 2024-99-99", "3", ["YAML reads 2024-99-99 as a date"]),
    ("dataset: cifar10", "dataset: !!int abc", "3", ["a value must have no tag", "got !!int"]),
    ("dataset: cifar10", "dataset: !!python/name:os.system", "3", ["no tag", "got !!python/name:os.system"]),
    ("dataset: cifar10", "dataset: dig\aits", "3", ["not YAML", "special characters", "'\\x07'"]),
    ("resources:", "---\nresources:", "20", ["not YAML", "another document"]),
    *WITH_HINTS,
    *NEXT_STEPS,
    (VALID, "", "1", ["a space file must be a mapping of sections"]),
    (VALID, "# nothing\n", "1", ["a space file must be a mapping of sections"]),
    (VALID, "- data\n- factors\n", "1", ["a space file must be a mapping of sections"]),
    (VALID, "data\n", "1", ["a space file must be a mapping of sections"]),
]


@pytest.mark.parametrize(("old", "new", "line", "words"), ERRORS, ids=[repr(new) for _, new, _, _ in ERRORS])
def test_an_error_is_one_line_with_rule_value_and_line(
    read: Read, old: str, new: str, line: str, words: list[str]
) -> None:
    assert VALID.count(old) == 1
    with pytest.raises(SpaceFileError) as caught:
        read(VALID.replace(old, new))
    message = caught.value.lines[0]
    assert "\n" not in message
    assert message.endswith(f"(space.yaml:{line})")
    for word in words:
        assert word in message
    assert len(caught.value.lines) == 1


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("search.seed", ["an override must be key.sub=value"]),
        ("~search.seed=1", ["an override must be key.sub=value, or ~key.sub"]),
        ("=1", ["an override must be key.sub=value"]),
        ("~", ["an override must be key.sub=value"]),
        ("search..seed=1", ["an override must be key.sub=value"]),
        ("search.=1", ["an override must be key.sub=value"]),
        ("~search.nothing", ["there is no key search.nothing to remove"]),
        ("~nothing.at.all", ["there is no key nothing.at.all to remove"]),
        ("data.dataset.name=1", ["data.dataset must be a mapping"]),
        ("factors.family.0=vit", ["factors.family must be a mapping"]),
        ("search.seed=1e-3", ["search.seed", "valid integer", "got 0.001"]),
        ('factors."family=[lkca]', ["a quoted key must end with its quote"]),
        ("factors.family=[lkca, vitt]", ["unknown family 'vitt'; did you mean vit?"]),
        ("search.seed=-1", ["search.seed", "equal to 0", "got -1"]),
        ("search.seed=", ["search.seed", "valid integer", "got nothing"]),
        ("search.seed=[1", ["not YAML"]),
        ("search.seed=\a", ["not YAML", "special characters"]),
        ("search={trials_per_cell: 1, trials_per_cell: 2}", ["got 'trials_per_cell' twice"]),
        ("search.sede=1", ["unknown key search.sede", "did you mean seed?"]),
        ("serch.seed=1", ["unknown key serch", "did you mean search?"]),
        ("factors.data_fraction=[0.1, 2]", ["data_fraction", "less than or equal to 1", "got 2"]),
        ("parameters.lerning_rate.value=1", ["unknown name 'lerning_rate'"]),
        ("parameters.depth.int=[3, 1]", ["the first bound must be below the second", "[3, 1]"]),
        ("resources.gpu=.inf", ["resources.gpu", "finite number", "got inf"]),
    ],
)
def test_an_error_in_an_override_has_the_override(read: Read, override: str, words: list[str]) -> None:
    with pytest.raises(SpaceFileError) as caught:
        read(VALID, override)
    (message,) = caught.value.lines
    assert message.endswith(f"(override {override!r})")
    for word in words:
        assert word in message


def test_a_required_key_removed_by_an_override_is_reported_at_its_section(read: Read) -> None:
    with pytest.raises(SpaceFileError, match=r"required key search\.trials_per_cell is missing \(space\.yaml:17\)"):
        read(VALID, "~search.trials_per_cell")


def test_the_table_of_errors_has_more_than_fifty_kinds() -> None:
    assert issubclass(SpaceFileError, UserError)  # the command line ends with exit code 2
    assert len({(old, new) for old, new, _, _ in ERRORS}) == len(ERRORS) > 50


def test_sampler_cmaes_needs_a_range(read: Read) -> None:
    ranges = ["~parameters.depth", "~parameters.learning_rate"]
    with pytest.raises(
        SpaceFileError,
        match=r"at least one range \(int or float\) for sampler cmaes, got none \(override 'search.sampler=cmaes'\)",
    ):
        read(VALID, *ranges, "search.sampler=cmaes")


def test_an_error_about_a_cycle_of_conditions_has_the_whole_cycle(read: Read) -> None:
    text = VALID.replace("{value: 64}", "{value: 64, when: {depth: [2]}}").replace("step: 2", "when: {width: [64]}")
    with pytest.raises(SpaceFileError) as caught:
        read(text)
    (message,) = caught.value.lines
    assert "depth -> width -> depth" in message or "width -> depth -> width" in message
    assert message.endswith(("(space.yaml:11)", "(space.yaml:12)"))


def test_a_condition_may_list_any_value_of_a_long_range(read: Read) -> None:
    text = VALID.replace("{value: 64}", "{int: [1, 500]}").replace("when: {family: [lkca]}", "when: {width: [77]}")
    assert read(text).spec.parameters["kernel_size"].when == {"width": (77,)}
    with pytest.raises(SpaceFileError, match=r"501 is not a value of parameter `width`"):
        read(text.replace("[77]", "[77, 501]"))


def test_all_problems_of_a_file_are_listed_at_once(read: Read) -> None:
    text = VALID.replace("cifar10", "3").replace("[8, 2]", "[2, 8]").replace("steps: 100", "steps: 0")
    text = text.replace("seed: 7", "sed: 7").replace("gpu: 0.25", "gpu: -1")
    with pytest.raises(SpaceFileError) as caught:
        read(text)
    assert [line.rpartition("(")[2] for line in caught.value.lines] == [
        "space.yaml:3)",
        "space.yaml:15)",
        "space.yaml:19)",
        "space.yaml:21)",
    ]
    assert str(caught.value) == "\n".join(caught.value.lines)


def test_all_problems_of_names_and_levels_are_listed_at_once(read: Read) -> None:
    text = VALID.replace("[0.1, 1]", "[0, 7]").replace("  width:", "  weight:").replace("[lkca]}", "[cnn]}")
    with pytest.raises(SpaceFileError) as caught:
        read(text)
    assert sorted(line.rpartition(":")[2] for line in caught.value.lines) == ["10)", "12)", "8)", "8)"]


def test_an_unreadable_file_is_a_user_error(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00data")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos.yaml").write_text(VALID)
    for path, rule in (
        (tmp_path / "nowhere.yaml", "cannot read the space file .*: No such file or directory$"),
        (
            tmp_path / "a_search",
            r"No such file or directory; a space file is given by its path, such as a_search\.yaml$",
        ),
        (tmp_path / "photos", r"must be a regular file, got a folder; did you mean \S*/photos\.yaml\? \("),
        (
            Path("/dev"),
            r"must be a regular file, got a folder; give the path of a YAML file \(",
        ),
        (binary, "a space file must be UTF-8, got UTF-16"),
    ):
        with pytest.raises(SpaceFileError, match=rule):
            read_space_file(path)


def test_a_later_problem_is_reported_at_the_line_of_its_value(read: Read) -> None:
    file = read(VALID, "parameters.width.value=32")
    problems = [
        Problem(("factors", "family", 1), "no such family"),
        Problem(("parameters", "width"), "too narrow"),
        Problem(("parameters", "patch_size"), "too large"),
    ]
    assert file.error(problems).lines == (
        "no such family (space.yaml:7)",
        "too narrow (space.yaml:12, override 'parameters.width.value=32')",
        "too large (space.yaml:9)",
    )
    assert file.error([Problem(("parameters", "width", "value"), "too narrow")]).lines == (
        "too narrow (override 'parameters.width.value=32')",
    )
