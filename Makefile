# The two commands are `make demo` and `make test`; `make help` lists the rest.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
# The newest supported Python that runs here (pyenv puts names on PATH that do not); PYTHON=/path/to/python overrides it.
PYTHONS := 3.13 3.12 3.11
newest = $(or $(shell for v in $(PYTHONS); do python$$v -c '' 2>/dev/null && command -v python$$v && break; done),python3)
ifeq ($(origin PYTHON),undefined) # looked for once, when it is needed
PYTHON = $(eval PYTHON := $(newest))$(PYTHON)
endif
BIN := .venv/bin
# Bytecode is kept: without it every process compiles all it imports, PyTorch for five seconds each time.
unexport PYTHONDONTWRITEBYTECODE

# A path given relative is relative to here; the steps, which run in folders of their own, get it absolute.
quoted = '$(subst ','\'',$(value $(1)))'
define absolute
ifneq ($$(filter-out /%,$$(firstword $$(value $(1)))),)
override $(1) := $$(shell realpath --canonicalize-missing --no-symlinks -- $$(call quoted,$(1)))
export $(1)
endif
endef
$(foreach name,RECSYS_DATA RECSYS_EXCHANGE_DIR RECSYS_SERVICES_DIR,$(eval $(call absolute,$(name))))
$(if $(filter %.json,$(value RECSYS_RECIPE)),$(eval $(call absolute,RECSYS_RECIPE))) # a recipe's name stays one

export images ports monitoring
SERVICES := $(or $(RECSYS_SERVICES_DIR),.services)
space := $(subst ,, )
comma := ,
SERVICES_READY := $(subst $(space),\ ,$(SERVICES))/.ready # a target: make reads a space as the end of a name

# $(call step,folder,script): a numbered step as a person runs it, from its own folder
step = @printf '\n=== %s/%s\n' $(1) $(2); start=$$SECONDS; (cd $(1) && $(call quoted,CURDIR)/$(BIN)/python $(2)); echo "--- $(1)/$(2): $$((SECONDS - start)) s"
# $(call timed,name,command): the command, and how long it took
timed = @start=$$SECONDS; $(2); echo "--- $(1): $$((SECONDS - start)) s"

# A package may bring targets of its own; without the package they are gone. Those that it adds to AFTER_RELEASE run once
# a release was published or activated.
AFTER_RELEASE :=
after_release = $(if $(AFTER_RELEASE),@$(MAKE) --no-print-directory $(AFTER_RELEASE))
PACKAGES := $(patsubst %/Makefile,%,$(wildcard */Makefile */*/Makefile))
listed = grep -hE '^[a-z0-9-]+:.*\#\# ' $(1) | awk -F ':.*\#\# ' '{printf "  make %-18s %s\n", $$1, $$2}'

.PHONY: help
help: ## list the targets (package=research: a package's own)
	@$(call listed,$(if $(package),$(package)/Makefile,Makefile))
	@$(if $(package),,echo "Packages have more: $(foreach each,$(PACKAGES),make help package=$(each);)")

.PHONY: setup setup-dev setup-research
setup: .venv/.ready $(SERVICES_READY) ## make the environment (.venv), download the services' software (.services)
setup-dev: setup .venv/.dev # what tests and lint need, too
setup-research: setup .venv/.research # what measurements and pictures need, too

# Whether $(PYTHON) and this folder will do: one sentence says what to change where they do not.
define python_fits
import importlib.util, os, sys
if not os.getcwd().isascii():
    sys.exit(f"Elasticsearch, Feast and Triton cannot work in {os.getcwd()}, whose path has letters other than ASCII's: move this folder to a path without them")
version, package = sys.version.split()[0], "python%d.%d" % sys.version_info[:2]
if "%d.%d" % sys.version_info[:2] not in "$(PYTHONS)".split():
    sys.exit(f"Python $(lastword $(PYTHONS)) to $(firstword $(PYTHONS)) is needed, {sys.executable} is {version}: install one, or name it with make PYTHON=/path/to/python3.12")
if not importlib.util.find_spec("venv") or not importlib.util.find_spec("ensurepip"):
    sys.exit(f"{sys.executable} cannot make environments: install {package}-venv (Debian and Ubuntu), or name another Python with make PYTHON=/path/to/python")
endef
export python_fits
define require_python
@$(PYTHON) -c '' 2>/dev/null || { echo "$(PYTHON) is no Python that runs: name one with make PYTHON=/path/to/python3.12" >&2; exit 1; }
@$(PYTHON) -c "$$python_fits"
endef

# An environment of another Python is replaced when the requirements change.
.venv/.ready: requirements.txt pyproject.toml
	$(require_python)
	@[[ ! -e .venv || "$$($(BIN)/python -V 2>&1)" == "$$($(PYTHON) -V)" ]] || rm -rf .venv
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements-uv.txt
	$(install) --requirement requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@rm -rf recsys_pipeline.egg-info # left by an earlier build, it would hide the entry points of this one
	@touch $@

# A lock file names all that is needed, without some packages' unused dependencies: see [tool.uv] in pyproject.toml.
install = $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes
.venv/.dev .venv/.research .venv/.docs: .venv/.%: .venv/.ready requirements-%.txt
	$(install) --requirement requirements-$*.txt
	@touch $@

$(SERVICES_READY): .venv/.ready stack/elasticsearch/jars.lock stack/triton/requirements.txt
	$(BIN)/python -m stack install
	@touch "$@"

compile = $(BIN)/uv pip compile --quiet --python-version 3.11 --no-emit-index-url --no-emit-find-links
compile_all = $(compile) pyproject.toml --universal --generate-hashes --no-annotate
unneeded := --no-emit-package mypy --no-emit-package types-greenlet # Feast depends on SQLAlchemy's stubs and their checker
# $(call compile_image,image,sources): what an image installs, in the versions of requirements.txt
compile_image = $(compile) $(2) --constraint requirements-dev.txt --generate-hashes --no-annotate --output-file stack/images/$(1).txt
.PHONY: lock
lock: ## pin the Python packages again: requirements*.txt and the images' (upgrade=1: to the newest)
	$(compile_all) --group dev --output-file requirements-dev.txt $(if $(upgrade),--upgrade)
	$(compile_all) --group research --constraint requirements-dev.txt --output-file requirements-research.txt
	$(compile_all) --group docs --constraint requirements-dev.txt --output-file requirements-docs.txt
	$(compile_all) --group mcp --constraint requirements-dev.txt --output-file requirements-mcp.txt
	$(compile_all) --group stack --constraint requirements-dev.txt $(unneeded) --output-file requirements.txt
	$(compile) <(echo uv) --universal --generate-hashes --no-annotate --no-header --output-file requirements-uv.txt $(if $(upgrade),--upgrade)
	$(compile) stack/triton/requirements.in --universal --override stack/triton/overrides.in --generate-hashes --output-file stack/triton/requirements.txt $(if $(upgrade),--upgrade)
	$(compile) past_one_machine/spark/requirements.in --universal --constraint <(sed -n 's/^\([a-z].*\) \\$$/\1/p' requirements-dev.txt) --generate-hashes --no-annotate --no-header --output-file past_one_machine/spark/requirements.txt $(if $(upgrade),--upgrade)
	$(call compile_image,redis,--group redis)
	$(call compile_image,feast,--group feast) $(unneeded)
	$(call compile_image,elasticsearch,pyproject.toml --group elasticsearch)
	$(call compile_image,server,pyproject.toml --group server --group tracing)
	$(compile) --universal --group audit --constraint requirements-dev.txt --generate-hashes --no-annotate --output-file stack/images/audit.txt $(if $(upgrade),--upgrade)
	$(call compile_image,steps,pyproject.toml --group steps --group make --group redis) $(unneeded)

.PHONY: lint
lint: setup-dev ## run ruff, mypy, import-linter, shellcheck, hadolint; check the READMEs' links and figures
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck .ci/run .ci/parts .ci/engine .ci/cluster stack/docker.sh stack/images/install-locked stack/images/tritonserver
	$(BIN)/hadolint stack/images/Dockerfile
	$(BIN)/md-dead-link-check --no-color
	@$(MAKE) --no-print-directory readme check=1

# --- the pipeline -----------------------------------------------------------------------------------------------------

.PHONY: offline
offline: .venv/.ready ## run the seven offline steps: data, split, statistics, recall, features, ranking model (final=1: on all events, none held out)
	@$(if $(final),RECSYS_FINAL=true) $(BIN)/python -m offline.step_runner

# The four loads read nothing of one another and run at the same time.
loads := recall/s1_user_to_redis recall/s2_item_to_es rank/s1_feature_to_feast rank/s2_model_to_triton
.PHONY: sync publish loaded $(loads)
sync: loaded ## load Redis, Elasticsearch, Feast and Triton, check, publish, go live (needs `make up`)
	$(call step,offline_to_online/release,s1_go_live.py)
	$(after_release)

publish: loaded ## the same without going live: requests that name the release are answered from it
	@$(BIN)/python -m stack.releases publish
	$(after_release)

loaded:
	@$(MAKE) --no-print-directory --jobs 4 --output-sync=target $(loads)
	$(call step,offline_to_online/rank,s3_check_offline_and_online.py)

$(loads):
	$(call step,offline_to_online/$(@D),$(@F).py)

.PHONY: releases activate
releases: setup ## list the releases in the stores: live, published, or just loaded
	@$(BIN)/python -m stack.releases list

activate: setup ## have a published release, new or earlier, answer by default: make activate release=<id>
	@[[ -n "$(release)" ]] || { echo "Name a release: make activate release=<id>; make releases lists them." >&2; exit 1; }
	@$(BIN)/python -m stack.releases activate "$(release)"
	$(after_release)

# What is wrong with the data that RECSYS_DATA names, before anything is started.
find_data := import sys; from pathlib import Path; from data_exchange_center import plugins; path = Path(sys.argv[1]); \
	path.exists() or path.name in plugins.find(plugins.DATASETS) or print(f"{path} does not exist: name a folder or an archive with data in RECSYS_DATA")
data_problem = $(if $(value RECSYS_DATA),$(shell $(BIN)/python -c '$(find_data)' $(call quoted,RECSYS_DATA)))

.PHONY: demo
demo: setup ## run the whole pipeline: data, training, services, sync, server, fifty films for the first user
	$(eval problem := $(data_problem))$(if $(problem),$(error $(problem)))
	$(call timed,offline,$(MAKE) --no-print-directory --jobs 2 offline up) # the services start while the models are trained
	$(call timed,sync,$(MAKE) --no-print-directory sync)
	$(call timed,server,$(MAKE) --no-print-directory serve)
	$(call step,online/main,s2_client.py)
	@echo "The server, and its page at http://127.0.0.1:$(or $(RECSYS_SERVER__PORT),5000)/, stay up until:  make down"

# --- how good the recommendations are ---------------------------------------------------------------------------------

# Ranking many small lists: BLAS's threads, one a core, only wait for one another (evaluate-offline: 28 s of processor
# time instead of 39). Training keeps them.
evaluate evaluate-offline sync publish: export OPENBLAS_NUM_THREADS := $(or $(OPENBLAS_NUM_THREADS),1)
.PHONY: evaluate evaluate-offline
evaluate: setup ## evaluate the running server on the held-out events: one table (two minutes; against=<recipe or release evaluated before>: does it help?)
	$(BIN)/python -m research.evaluation.$(if $(against),against "$(against)" --server,running_server)

evaluate-offline: setup ## the same of the artifacts, by exact search, without services
	$(BIN)/python -m $(if $(against),research.evaluation.against "$(against)",research.evaluation.one_table)

# --- the services -----------------------------------------------------------------------------------------------------
# one service alone: make up service=redis, make down service=redis, make logs service=triton

.PHONY: up down status logs serve
up: setup ## start Redis, Elasticsearch, Feast and Triton, and wait until they answer
	@$(BIN)/python -m stack up $(service)

down: setup ## stop them and the server; the data stays
	@$(BIN)/python -m stack down $(service)

status: setup ## list the running services: version, ports, pid, uptime, readiness
	@$(BIN)/python -m stack status

logs: setup ## print the end of every log
	@$(BIN)/python -m stack logs $(service)

serve: setup ## start the Flask server under gunicorn, or restart it
	@$(BIN)/python -m stack serve

# What git ignores here, by the name that `make clean what=` takes. The data of another RECSYS_EXCHANGE_DIR is not here.
clean_venv := .venv
clean_services := .services
clean_data := $(addprefix data_exchange_center/,offline trained offline_to_online online)
clean_caches := .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
clean_all := $(clean_venv) $(clean_services) $(clean_data) $(clean_caches)
trained := $(patsubst data_exchange_center/trained/%,%,$(wildcard data_exchange_center/trained/*/*))
$(foreach name,$(trained),$(eval clean_$(name) := data_exchange_center/trained/$(name)))
.PHONY: clean
clean: ## list what this folder keeps on the disk; what=venv, services, data, caches or all: stop everything and remove that (what=ml-1m/source: the artifacts of a data set and recipe)
	$(if $(what),$(if $(clean_$(what)),,$(error what=$(what) is unknown: name venv, services, data, caches, all$(addprefix $(comma) ,$(trained)))))
	@$(if $(filter data all,$(what)),lock=data_exchange_center/online/redis/.lock; code=0; if [[ -e $$lock ]]; then flock --nonblock --conflict-exit-code 75 $$lock true || code=$$?; fi; \
	if [[ $$code == 75 ]]; then echo "Containers use data_exchange_center: end them first (make docker-down)." >&2; exit 1; fi)
	@$(if $(what),$(if $(filter $(what),$(trained)),,[[ ! -x $(BIN)/python ]] || $(BIN)/python -m stack down;) rm -rf $(clean_$(what)),\
	$(foreach name,venv services data caches $(trained),du -shc $(clean_$(name)) 2>/dev/null | awk 'END {printf "%-6s make clean what=$(name)   ($(clean_$(name)))\n", $$1}' || true;) \
	echo "Outside of this folder: the caches of uv (uv cache clean) and pip (pip cache purge)$(if $(RECSYS_EXCHANGE_DIR),; RECSYS_EXCHANGE_DIR=$(RECSYS_EXCHANGE_DIR))$(if $(RECSYS_SERVICES_DIR),; RECSYS_SERVICES_DIR=$(RECSYS_SERVICES_DIR)).")

# --- the same in containers; no Python is needed on this machine ------------------------------------------------------

# Their state and logs: stack/docker.sh status, stack/docker.sh logs triton
.PHONY: docker-demo docker-up docker-down
docker-demo: ## run the demo in containers: build the images, start them, train, sync, fifty films (images=official: pull the services' own, untested)
	@stack/docker.sh demo

docker-up: ## start the four services and the server in containers (ports=all: publish the services' ports, not the server's alone; monitoring=1: Prometheus, Grafana and Jaeger, too)
	@stack/docker.sh up

docker-down: ## stop the containers; the data stays
	@stack/docker.sh down

# --- tests ------------------------------------------------------------------------------------------------------------

.PHONY: test test-full test-unit
test: setup-dev ## run lint, unit tests, the demo with MovieLens-100K on the real services, the page in a browser (six minutes)
	@.ci/parts demo "lint core"

test-full: setup-dev ## run services, the other unit tests, the page, all end-to-end tests (half an hour; package=events: all tests of that package alone)
	@$(if $(package),$(BIN)/python -m pytest -q $(shell find tests -path '*$(package)*' -name 'test_*.py'),.ci/parts "browser e2e kubernetes" "services outer")

outer := tests/unit/docs tests/unit/research tests/unit/past_one_machine
test-unit: setup-dev ## run the unit tests, without services (two minutes; of=core: without docs, research and past one machine, of=outer: these alone)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(if $(filter outer,$(of)),$(outer),tests/unit) $(if $(filter core,$(of)),$(outer:%=--ignore %)) -q --numprocesses 2 --dist loadfile

.PHONY: test-cluster test-clusters test-spark test-kubernetes
test-cluster: setup-dev ## test clusters with nodes killed under load, and Spark against pandas (needs Python 3.11)
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target test-clusters test-spark

test-clusters: setup-dev
	$(BIN)/python -m pytest tests/cluster -q --timeout 1800

# In Spark's environment; where none can be made, in the project's own, which says so and skips them.
test-spark: setup-dev
	@python=$$($(BIN)/python -m past_one_machine.spark.environment --print || echo $(BIN)/python); \
	OMP_NUM_THREADS=1 nice "$$python" -m pytest tests/past_one_machine/spark -q --timeout 1800

# A node of Kubernetes, built from Go's modules the first time (20 minutes); the images are those of docker-demo. Where no
# cluster can be started the tests say so and are skipped.
test-kubernetes: setup-dev
	@export COMPOSE_PROJECT_NAME=recsys-cluster; trap '.ci/cluster stop; .ci/engine stop' EXIT; \
	if engine=$$(.ci/engine start) && eval "$$engine" && bash stack/docker.sh build && cluster=$$(.ci/cluster start); \
	then eval "$$cluster"; fi; \
	$(BIN)/python -m pytest tests/past_one_machine/kubernetes -n 0 -q -rP --timeout 1800

include $(PACKAGES:=/Makefile)
