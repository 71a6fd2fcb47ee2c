"""Put the measured figures into the READMEs, between ``<!-- figures: name -->`` and ``<!-- /figures -->``.

Every figure stands in ``pic/figures``, in a file that a command of this repository wrote; those of the source, in
``source.json``, were measured once with its own code.

Reads   pic/figures/*.json
Writes  the pages of docs, and README.md and README.zh-CN.md of the root and of each package
Run     make readme            check=1: write nothing, and fail where a page or a picture is not of the files
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from research.figures import costs, pictures, recommendations
from research.figures.tables import drawn

ROOT: Final = Path(__file__).resolve().parents[2]
DRAWN_BY: Final = (costs, recommendations)  # importing them registers their blocks
_BLOCK: Final = re.compile(r"(?P<open><!-- figures: (?P<name>\w+) -->\n).*?(?P<close><!-- /figures -->)", re.DOTALL)
# The sentences of the Chinese page's blocks; tables are in docs/results, in English.
_CHINESE: Final = (
    (r"(\d+) seconds on an empty machine \(", r"空机器上 \1 秒（"),
    (r"\), (\d+) when it runs again\. ", r"），再次运行 \1 秒"),
    (
        r"Of what .+? \*\*(\d+%)\*\* is among .+? \*\*(\d+%)\*\* among 200.+? \*\*(\d+%)\*\* and \*\*(\d+%)\*\*\.",
        r"隔一小时以上回来的用户，接下来喜欢的有 **\1** 在一次普通请求的 50 部之内，**\2** 在 200 部之内；"
        r"全部用户带请求时间（`timestamp`）时为 **\3** 和 **\4**。",
    ),
    ("list", "列表"),
    (", back after a break", "，隔了一段时间回来"),
    (", all users", "，全部用户"),
    ("the most liked films", "热门榜"),
    ("FM and DeepFM, as in the source", "FM 和 DeepFM，与原项目相同"),
    ("EASE, untuned", "EASE（未调优）"),
    ("the best fusion of tuned rivals", "调优过的对手的最佳融合"),
    ("recipe `", "配方 `"),
    (
        r"At the .+?: (\d+) users, all: ([\d,]+)\. Split .+?\((\d+) users\): recall@200 (\S+), NDCG@50 (\S+)\. ",
        r"各列都带请求时间；隔了一段时间回来的用户 \1 位，全部 \2 位。"
        r"所有人在同一时刻切分（\3 位）：recall@200 \4，NDCG@50 \5",
    ),
    (r" requests/s on two cores with four in flight \(p50 ", " 次请求/秒（双核，四个并行，p50 "),
    (
        r"\); the source's own stack, .+?: (\d+) requests/s \(p50 (\d+ ms)\)\. ",
        r"）；原项目自己的系统，在另一台双核的机器上：\1 次请求/秒（p50 \2）",
    ),
    ("; service versions: ", "；服务版本："),
    (r"; by its end Elasticsearch had answered ([\d,]+) searches", r"；结束时 Elasticsearch 已回答 \1 次搜索"),
    (r"\. Measured by |Measured by ", "。测量命令："),
    (r"` on ", "`，机器："),
    ("cores", "核"),
    ("; data: ", "；数据："),
    (r"; version (\S+), commit ", r"；版本 \1，提交 "),
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


if __name__ == "__main__":
    main()
