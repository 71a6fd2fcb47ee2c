"""``python -m online.stack up|down|restart|status|logs|serve [service ...]``: see `online.stack.commands`."""

import sys

from data_exchange_center.settings import load_settings
from online.stack.commands import main
from online.stack.service import run

run(lambda: main(sys.argv[1:], load_settings()), interrupted="interrupted; `make down` stops what was started")
