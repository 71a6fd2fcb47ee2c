"""Put the measured figures into the READMEs, between ``<!-- figures: name -->`` and ``<!-- /figures -->``.

Every figure stands in ``pic/figures``, in a file that a command of this repository wrote; those of the source, in
``source.json``, were measured once with its own code.

Reads   pic/figures/*.json
Writes  the pages of docs, and README.md and README.zh-CN.md of the root and of each package
Run     make readme            check=1: write nothing, and fail where a page or a picture is not of the files; list the
                               files that are stale, and those of studies that have ended. release=1: fail for stale
                               ones, too, as a release must
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Final

from research.figure_files import FIGURES
from research.figures import costs, estimate, pictures, recommendations
from research.figures.tables import drawn
from research.reports import stale

ROOT: Final = Path(__file__).resolve().parents[2]
DRAWN_BY: Final = (costs, estimate, recommendations)  # importing them registers their blocks
_BLOCK: Final = re.compile(r"(?P<open><!-- figures: (?P<name>\w+) -->\n).*?(?P<close><!-- /figures -->)", re.DOTALL)
# The sentences of the Chinese page's blocks; tables are in docs/results, in English.
_CHINESE: Final = (
    (r"(\d+) seconds on an empty machine \(", r"空机器上 \1 秒（"),
    (r"\), (\d+) when it runs again\. ", r"），再次运行 \1 秒"),
    (
        r"\*\*(\d+%)\*\* of what .+? \*\*(\d+%)\*\* in mid-session.+?\)\.",
        r"隔一小时以上回来的用户，接下来喜欢的有 **\1** 在 200 部之内（不带时间的请求，按“现在”回答）；"
        r"会话之中带请求时间（`timestamp`）时为 **\2**。",
    ),
    ("list", "列表"),
    (", back after a break", "，隔了一段时间回来"),
    (", in session", "，会话之中"),
    ("the most liked films, for everybody", "热门榜（人人相同）"),
    ("FM and DeepFM, as in the source", "FM 和 DeepFM，与原项目相同"),
    ("EASE, an item-item model", "EASE（物品-物品模型）"),
    ("the best fusion of tuned rivals", "调优过的对手的最佳融合"),
    ("recipe `", "配方 `"),
    (
        r"Back after a break: (\d+) users; in session: ([\d,]+)\..+?: ([\d.]+), NDCG@50 ([\d.]+) \((\d+) users\)\. ",
        r"隔了一段时间回来的用户：\1 位；会话之中：\2 位。所有人同一时刻：\3，NDCG@50 \4（\5 位）",
    ),
    (r" requests/s on two cores with four in flight \(p50 ", " 次请求/秒（双核，四个并行，p50 "),
    (
        r"\); the source's own stack, on another such machine: (\d+) \((\d+ ms)\)\. ",
        r"）；原项目自己的系统，在另一台这样的机器上：\1（\2）",
    ),
    ("; service versions: ", "；服务版本："),
    (r"; by its end Elasticsearch had answered ([\d,]+) searches", r"；结束时 Elasticsearch 已回答 \1 次搜索"),
    (r"\. Measured by |Measured by ", "。测量命令："),
    (r"` on ", "`，机器："),
    ("cores", "核"),
    ("; data: ", "；数据："),
    ("; commit ", "；提交 "),
)


def rendered(text: str, *, chinese: bool = False, root: str = "") -> str:
    """Fill every block of a page from its file.

    Args:
        root: path from the page's folder to the repository's, which pictures are below: "../../".
    """

    def fill(found: re.Match[str]) -> str:
        shown = drawn(found["name"]).replace("](pic/", f"]({root}pic/")
        if chinese and not shown.startswith("```"):
            for english, word in _CHINESE:
                shown = re.sub(english, word, shown)
        return f"{found['open']}{shown}\n{found['close']}"

    return _BLOCK.sub(fill, text)


def pages() -> list[Path]:
    """Every README and page of docs that git knows."""
    patterns = ("README*.md", "**/README*.md", "docs/*.md", "docs/**/*.md")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    tracked = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    return [path for name in dict.fromkeys(tracked) if (path := ROOT / name).is_file()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a page is out of date")
    parser.add_argument("--release", action="store_true", help="exit 1 when a figure is stale, too")
    given = parser.parse_args()
    for path in pages():
        old = path.read_text(encoding="utf-8")
        root = "../" * len(path.relative_to(ROOT).parents[:-1])
        new = rendered(old, chinese=path.name.endswith(".zh-CN.md"), root=root)
        if not given.check:
            path.write_text(new, encoding="utf-8")
        elif new != old:
            sys.exit(f"{path.relative_to(ROOT)} does not show the figures of pic/figures: run make readme")
    if given.check and (old_pictures := pictures.outdated()):
        sys.exit(
            f"not drawn from the figures that are there: {', '.join(old_pictures)}; see `make help package=research`"
        )
    found = ages()
    for why, files in found.items():
        print(f"{why}: {', '.join(files)}")  # noqa: T201
    if given.release and any(why.startswith("stale") for why in found):
        sys.exit("A release shows no stale figures: run make figures")


def ages() -> dict[str, list[str]]:
    """Why -> figures that have to be measured again, then those that cannot be, as their study has ended.

    All have to be of one machine, the most common one.
    """
    figures = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FIGURES.glob("*.json"))}
    machines = [json.dumps(figure["machine"]) for figure in figures.values() if "measured" in figure]
    here = json.loads(max(machines, key=machines.count)) if machines else None
    found, over = defaultdict(list), defaultdict(list)
    for name, figure in figures.items():
        if why := stale(figure, here):
            found[f"stale, {why}"].append(name)
        elif commit := figure.get("ended"):
            over[f"of a study that has ended, its code is in commit {commit}"].append(name)
    return {**found, **over}


if __name__ == "__main__":
    main()
