"""``python -m stack install|up|down|status|logs|serve [service ...]``: see `stack.commands`."""

import sys

from data_exchange_center.settings import load_settings
from stack.commands import main
from stack.service import run

again = "interrupted; run it again to resume; `make down` stops what was started"
run(lambda: main(sys.argv[1:], load_settings()), interrupted=again)
