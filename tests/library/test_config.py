import json
from pathlib import Path

import pytest

from gendi.errors import UsageError
from gendi.storage.toml import read_toml
from gendi.train.config import RunConfig
from gendi.train.presets import PRESETS


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_travels_as_json(name: str) -> None:
    config = PRESETS[name].config
    config.validate()
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"netwrok": {}}, "netwrok"),
        ({"network": {"chanels": [8]}}, r"config\.network.*chanels"),
        ({"network": 3}, r"config\.network"),
        ({"network": {"channels": 8}}, r"config\.network\.channels"),
        ({"network": {"channels": []}}, "network.channels is empty"),
        ({"network": {"channels": [8.5]}}, r"channels\[0\]"),
        ({"network": {"channels": [12]}}, "groups"),
        ({"network": {"attention": [2]}}, "level 2"),
        ({"network": {"channels": [8, 16], "attention": [0], "heads": 3}}, "heads"),
        ({"network": {"dropout": 1.5}}, "network.dropout"),
        ({"network": {"kind": "cnn"}}, "'unet', 'dit', 'mlp'"),
        ({"network": {"blocks": [2, 2, 2]}}, "network.blocks has 3 entries for 2"),
        ({"network": {"blocks": [2, 0]}}, "network.blocks = 0"),
        ({"network": {"blocks": [2, 1.5]}}, r"network\.blocks\[1\]"),
        ({"network": {"blocks": "2"}}, "network.blocks"),
        ({"network": {"heads": [4]}}, "network.heads has 1 entries for 2"),
        ({"network": {"attention": [1], "head_dim": 48}}, "network.head_dim = 48"),
        ({"network": {"middle_attention": True, "heads": [1, 3]}}, "heads"),
        ({"network": {"time_features": 7}}, "time_features = 7"),
        ({"network": {"kind": "dit"}}, "a dit has one width"),
        ({"network": {"kind": "dit", "channels": [64], "attention": [0]}}, "U-Net"),
        ({"network": {"kind": "dit", "channels": [66], "heads": 6}}, "66 of a token"),
        ({"network": {"kind": "dit", "channels": [60], "heads": 10, "positions": "rotary"}}, "6 of a head"),
        ({"conditions": [{"name": "a", "via": "tokens"}]}, "a enters via 'tokens': give network.attention"),
        (
            {"network": {"kind": "mlp", "channels": [64]}, "conditions": [{"name": "a", "via": "tokens"}]},
            "an mlp takes conditions",
        ),
        ({"network": {"kind": "mlp", "channels": [64], "patch": 2}}, "an mlp takes vectors"),
        ({"network": {"blocks": True}}, "blocks"),
        ({"process": {"schedule": "linaer"}}, "linear"),
        ({"process": {"steps": 0}}, "process.steps"),
        ({"process": {"steps": None}, "objective": {"time_sampling": "discrete"}}, "process.steps"),
        ({"process": {"steps": None}, "network": {"time_input": "step"}}, "process.steps"),
        ({"process": {"steps": None}, "objective": {"prediction": "mu"}}, "'mu' needs process.steps"),
        ({"process": {"steps": None}, "objective": {"loss": "vlb"}}, "'vlb' needs process.steps"),
        ({"process": {"steps": None}, "objective": {"loss": "hybrid"}}, "'hybrid' needs process.steps"),
        (
            {"process": {"steps": None}, "objective": {"time_sampling": "loss-aware"}},
            "'loss-aware' needs process.steps",
        ),
        ({"objective": {"prediction": "mu", "precondition": True}}, "mu.*precondition"),
        ({"objective": {"variance": "learned"}}, "nothing would train the variance"),
        ({"objective": {"loss": "hybrid", "time_sampling": "discrete"}}, "'hybrid' is for .*learned"),
        ({"objective": {"loss": "vlb"}}, "'uniform' must be 'discrete' or 'loss-aware'"),
        ({"objective": {"loss": "vlp"}}, r"objective\.loss = 'vlp'.*'vlb'"),
        ({"objective": {"vlb_weight": 0.0}}, "objective.vlb_weight"),
        ({"objective": {"log_snr_min": 5.0, "log_snr_max": 5.0}}, "must lie below"),
        ({"objective": {"log_snr_max": 100.0}}, "objective.log_snr_max"),
        ({"network": {"fourier_features": [99]}}, r"fourier_features\[0\]"),
        ({"network": {"output": "bytes"}, "objective": {"prediction": "eps"}}, "needs objective.prediction = 'v'"),
        ({"network": {"output": "bytes"}, "objective": {"precondition": True}}, "no objective.precondition"),
        (
            {"network": {"output": "bytes"}, "process": {"schedule": "sub-vp", "steps": None}},
            r"alpha\^2 \+ sigma\^2 = 1",
        ),
        ({"network": {"output": "bytes"}, "train": {"compile": True}}, "train.compile would unroll"),
        ({"network": {"fourier_fade": True, "time_input": "step"}}, "network.fourier_fade reads"),
        ({"network": {"output": "bytes", "time_input": "step"}}, "'log-snr'"),
        ({"optim": {"lr": float("nan")}}, "optim.lr"),
        ({"optim": {"lr": -1}}, "optim.lr"),
        ({"optim": {"betas": [0.9]}}, "optim.betas"),
        ({"optim": {"warmup": 0.6, "decay": 0.6}}, "warmup"),
        ({"train": {"batch_size": 0}}, "train.batch_size"),
        ({"train": {"batch_size": "many"}}, "train.batch_size"),
        ({"sample": {"steps": 0}}, "sample.steps"),
        ([], "config"),
    ],
)
def test_a_bad_field_is_named(change: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RunConfig.from_dict(change)


def test_a_configuration_prints_as_the_lines_of_config_toml(tmp_path: Path) -> None:
    """Read back as that file is, they are the same configuration."""
    config = PRESETS["mnist"].config
    text = str(config)
    assert "\nlr = 0.003\n" in text and max(map(len, text.splitlines())) < 120
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    assert RunConfig.from_dict(read_toml(tmp_path / "config.toml")) == config
