# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["recbole==1.2.1", "torch==2.15.0", "numpy<2", "scipy<1.12", "pandas<3", "pyarrow<21", "setuptools<81"]
# [tool.uv] # ray tunes hyperparameters; the others are PyTorch's for GPUs: this project's environment has none of them
# exclude-dependencies = ["ray", "triton", "nvidia-cusolver", "nvidia-nvtx", "nvidia-cuda-cccl", "cuda-bindings"]
# ///
"""Train and export a model of RecBole: uv run from_recbole.py <exported events> <bundle> --model <model>."""

import contextlib
import tempfile
from pathlib import Path

import recbole
import torch
from recbole.config import Config
from recbole.data import create_dataset, create_samplers, get_dataloader
from recbole.data.interaction import Interaction
from recbole.utils import get_model, get_trainer, init_seed
from write import arguments, best_unseen, lists, parts, sample, vectors, write

NAMES = {"bpr": "BPR", "lightgcn": "LightGCN", "ease": "EASE", "itemknn": "ItemKNN"}
SETTINGS = {
    "bpr": {"epochs": 10},
    "lightgcn": {"epochs": 10},
    "ease": {"reg_weight": 500.0},
    "itemknn": {"k": 200},
}
FILES = {
    "load_col": {"inter": ["user_id", "item_id"]},
    "eval_args": {"split": {"RS": [1, 0, 0]}, "mode": "full"},
}


def main() -> None:
    given = arguments(list(NAMES))
    for events, folder in parts(given):
        with (
            tempfile.TemporaryDirectory() as data,
            contextlib.chdir(data),
        ):  # where it writes its logs, too
            Path(data, "events").mkdir()
            rows = (
                events[["user", "item"]]
                .drop_duplicates()
                .set_axis(["user_id:token", "item_id:token"], axis=1)
            )
            rows.to_csv(Path(data, "events", "events.inter"), sep="\t", index=False)
            own = {
                "data_path": data,
                "checkpoint_dir": data,
                "use_gpu": False,
                "state": "ERROR",
                **FILES,
            }
            config = Config(
                NAMES[given.model], "events", config_dict=own | SETTINGS[given.model]
            )
            init_seed(config["seed"], reproducibility=True)
            cut = (dataset := create_dataset(config)).build()
            sampler, *_ = create_samplers(config, dataset, cut)
            train = get_dataloader(config, "train")(
                config, cut[0], sampler, shuffle=True
            )
            model = get_model(config["model"])(config, train.dataset)
            get_trainer(config["MODEL_TYPE"], config["model"])(config, model).fit(
                train, saved=False
            )
            model.eval().requires_grad_(False)
        users, items = (
            dataset.field2id_token[name][1:] for name in ("user_id", "item_id")
        )  # number 0 is padding
        some, seen, best = sample(users), dataset.inter_matrix(form="csr")[1:, 1:], []
        for user in some:
            scores = model.full_sort_predict(
                Interaction({"user_id": torch.tensor([user + 1])})
            )
            best.append(best_unseen(scores.numpy().ravel()[1:], seen[user].indices))
        tables = {
            "expected": lists(
                users[some],
                [items[places] for places, _ in best],
                [each for _, each in best],
            )
        }
        kind = "item-item" if given.model in ("ease", "itemknn") else "vectors"
        if kind == "item-item":
            weights = model.w if given.model == "itemknn" else model.item_similarity
            tables |= {"items": vectors(items), "weights": weights[1:, 1:]}
        else:
            layers = model.user_embedding.weight, model.item_embedding.weight
            of_users, of_items = model() if given.model == "lightgcn" else layers
            tables |= {
                "items": vectors(items, of_items[1:]),
                "users": vectors(users, of_users[1:]),
            }
        write(
            folder,
            f"recbole_{given.model}",
            kind,
            f"recbole {recbole.__version__}",
            events=len(events),
            **tables,
        )


if __name__ == "__main__":
    main()
