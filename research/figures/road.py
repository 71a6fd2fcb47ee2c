"""Draw the pipeline: three stages, four services, one request.

Run: python research/figures/road.py      (or `make pictures`)
Writes: pic/road.png
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from data_exchange_center.figures import PICTURES

INK = "#1f2937"
STAGES = {"offline": "#dbeafe", "bridge": "#fef3c7", "service": "#fde2e2", "online": "#dcfce7"}


def box(axes: Axes, x: float, y: float, width: float, height: float, title: str, lines: str, colour: str) -> None:
    """A rounded box with a bold title and small lines below it; (x, y) is its lower left corner."""
    axes.add_patch(
        FancyBboxPatch(
            (x, y), width, height, boxstyle="round,pad=0.02,rounding_size=0.12", facecolor=colour, edgecolor=INK, lw=1.1
        )
    )
    axes.text(x + width / 2, y + height - 0.16, title, ha="center", va="top", fontsize=10.5, weight="bold", color=INK)
    axes.text(x + width / 2, y + height - 0.52, lines, ha="center", va="top", fontsize=8.4, color=INK, linespacing=1.35)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], label: str = "", bend: float = 0.0) -> None:
    """An arrow, with an optional label at its middle."""
    axes.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=13, color=INK, lw=1.2, connectionstyle=f"arc3,rad={bend}"
        )
    )
    if label:
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        axes.text(
            *middle,
            label,
            ha="center",
            va="center",
            fontsize=8,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2},
        )


COLUMNS = (0.6, 3.85, 7.1, 10.35)  # left edges of what stands above one another: a load, its service
OFFLINE = (
    ("MovieLens", "s0_get_data\nratings · users · films", "#f3f4f6"),
    ("preprocess", "s1_data_split · s2_term_trans\nlabels, split,\npoint-in-time statistics", STAGES["offline"]),
    (
        "recall",
        "s1_term_recall · s2_vector_recall\none vector channel per model:\nhistory → user vector",
        STAGES["offline"],
    ),
    (
        "rank",
        "s1_feature_engi · s2_model_train\nFeatureSpec → columns\nranker trained on recall's lists",
        STAGES["offline"],
    ),
)
LOADS = (
    ("s1_user_to_redis", "history, seen films,\nprofile; channel tables"),
    ("s2_item_to_es", "genres of every film,\none vector per channel"),
    ("s1_feature_to_feast", "raw features of users\nand films, in UTC"),
    ("s2_model_to_triton", "PyTorch → ONNX,\none version per release"),
)
SERVICES = (
    ("Redis", "user state for recall\n:6379"),
    ("Elasticsearch", "inverted + vector indexes\n:9200"),
    ("Feast", "features for ranking\n:6566"),
    ("Triton", "real-time scores\n:8000-8002"),
)
REQUEST = (
    ("1  user state, live release", 3.9),
    ("2  256 candidates\nper channel", 5.5),
    ("2  user's features", 7.8),
    ("3  scores", 9.4),
)


def draw_offline(axes: Axes) -> None:
    """The seven steps, left to right."""
    for x, (title, lines, colour) in zip((0.6, 3.5, 6.85, 10.2), OFFLINE, strict=True):
        box(axes, x, 6.7, 2.3 if title == "MovieLens" else 2.75, 1.55, title, lines, colour)
    for start, end in ((2.92, 3.48), (6.27, 6.83), (9.62, 10.18)):
        arrow(axes, (start, 7.47), (end, 7.47))


def draw_sync(axes: Axes) -> None:
    """Draw the loading of each service, and the check at the end."""
    for x, (load, what), (service, role) in zip(COLUMNS, LOADS, SERVICES, strict=True):
        box(axes, x, 4.45, 2.6, 1.1, load, what, STAGES["bridge"])
        box(axes, x, 2.5, 2.6, 1.1, service, role, STAGES["service"])
        arrow(axes, (x + 1.3, 4.43), (x + 1.3, 3.64))
        arrow(axes, (x + 1.3, 6.02), (x + 1.3, 5.59))
    axes.plot([1.9, 11.65], [6.04, 6.04], color=INK, lw=1.2)
    for x in (4.87, 8.22, 11.57):
        axes.plot([x, x], [6.68, 6.04], color=INK, lw=1.2)
    for y, note in (
        (6.2, "a release: one id, one manifest"),
        (4.04, "s3_check_offline_and_online: same columns, same scores → s1_go_live"),
    ):
        patch = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        axes.text(6.6, y, note, fontsize=8.6, style="italic", color=INK, ha="center", bbox=patch)


def draw_online(axes: Axes) -> None:
    """The server, and in which order a request asks the services."""
    lines = 'POST /ml/rec {"userid": 1}\nhistory → vectors → 256 per channel → fuse → rank → the best 50'
    box(axes, 3.2, 0.2, 6.9, 1.15, "s1_server (Flask)", lines, STAGES["online"])
    box(axes, 0.6, 0.2, 1.75, 1.15, "s2_client", "fifty films,\nbest first", "#f3f4f6")
    box(axes, 10.95, 0.2, 2.0, 1.15, "/readyz", "who is ready,\nwhich release", "#f3f4f6")
    arrow(axes, (2.4, 0.75), (3.16, 0.75))
    arrow(axes, (10.14, 0.75), (10.91, 0.75))
    for x, (label, target) in zip(COLUMNS, REQUEST, strict=True):
        arrow(axes, (target, 1.39), (x + 1.3, 2.46), label)


def draw(path: Path) -> None:
    """The whole picture as a PNG."""
    figure, axes = plt.subplots(figsize=(13.2, 8.6))
    axes.set_xlim(0, 13.2)
    axes.set_ylim(0, 8.6)
    axes.axis("off")
    for y, text in ((7.42, "1  OFFLINE"), (5.0, "2  OFFLINE TO ONLINE"), (3.05, "SERVICES"), (0.75, "3  ONLINE")):
        axes.text(0.22, y, text, fontsize=9.5, weight="bold", color="#6b7280", rotation=90, ha="center", va="center")
    draw_offline(axes)
    draw_sync(axes)
    draw_online(axes)
    figure.savefig(path, dpi=130, bbox_inches="tight", facecolor="white", metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    draw(PICTURES / "road.png")
