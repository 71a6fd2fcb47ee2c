#!/usr/bin/env bash
# The stack in containers. Needs Docker and Bash, no Python.
#
#   docker.sh demo            build or pull everything, start it, train, load, check, go live, print fifty films
#   docker.sh build           build or pull the images, those of the steps too
#   docker.sh up | down       start the four services and the server, and wait until they are healthy; end them
#   docker.sh status | logs [service]
#   docker.sh run COMMAND     a command in the container of the steps, for example make evaluate
#
# images=built (default): the services' images are built here, from the local stack's packages; images=official: the
# services' own are pulled, which was never tried. ports=all: the services' ports are published, too, not the server's alone.
# monitoring=1: Prometheus, Grafana and Jaeger run, too.
set -euo pipefail
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { printf '%s\n' "$*" >&2; exit 1; }

choose_files() {
    export COMPOSE_FILE=docker-compose.yml
    case ${images:-built} in
        built) ;;
        official) COMPOSE_FILE+=:docker-compose.official.yml ;;
        *) fail "images is '$images': it can be built or official." ;;
    esac
    case ${ports:-server} in
        server) ;;
        all) COMPOSE_FILE+=:docker-compose.ports.yml ;;
        *) fail "ports is '$ports': it can be server or all." ;;
    esac
    [[ -z ${monitoring:-} ]] ||
        export COMPOSE_PROFILES=monitoring RECSYS_TRACING__ENDPOINT=${RECSYS_TRACING__ENDPOINT:-http://jaeger:4318/v1/traces}
}

# Root's containers run as user 1000: Elasticsearch refuses to be root.
choose_user() {
    local uid
    uid=$(id -u)
    export RECSYS_UID=${RECSYS_UID:-$((uid == 0 ? 1000 : uid))} RECSYS_GID=${RECSYS_GID:-$(id -g)}
}

# A path as the caller means it, for Docker, which would take a relative one for a volume's name.
absolute() {
    case $1 in
        *:*) fail "$1 has a colon, which Docker cannot mount: choose a path without one." ;;
        /*) printf '%s' "$1" ;;
        *) printf '%s' "$called_from/$1" ;;
    esac
}

# Docker's builder keeps notes in its user's folder: elsewhere where there is none, or one that cannot be written to.
choose_notes() {
    local folder=${DOCKER_CONFIG:-${HOME:-/nonexistent}/.docker}/buildx
    { mkdir -p "$folder" && [[ -w $folder ]]; } 2> /dev/null || export BUILDX_CONFIG=${BUILDX_CONFIG:-$scratch/buildx}
}

# Where data is written; the default is the checkout's.
choose_folder() {
    exchange=$(absolute "${RECSYS_EXCHANGE_DIR:-$PWD/data_exchange_center}")
    export RECSYS_EXCHANGE_DIR=$exchange
    mkdir -p "$exchange" 2> /dev/null ||
        fail "$exchange cannot be made: choose a folder of yours with RECSYS_EXCHANGE_DIR."
}

# The first of these files that exists.
first_file() {
    local file
    for file in "$@"; do
        [[ ! -s "$file" ]] || { printf '%s' "$file"; return; }
    done
}

# Package index and certificates of the build, as configured for this machine's pip.
choose_build_secrets() {
    local pip_conf ca_certs
    pip_conf=${RECSYS_BUILD_PIP_CONF:-$(first_file "${PIP_CONFIG_FILE:-}" "${HOME:-/nonexistent}/.config/pip/pip.conf" /etc/pip.conf)}
    ca_certs=${RECSYS_BUILD_CA_CERTS:-$(first_file "${PIP_CERT:-}" "${SSL_CERT_FILE:-}" "${REQUESTS_CA_BUNDLE:-}")}
    export RECSYS_BUILD_PIP_CONF=${pip_conf:-/dev/null} RECSYS_BUILD_CA_CERTS=${ca_certs:-/dev/null}
    local file
    RECSYS_BUILD_PIP_CONF=$(absolute "$RECSYS_BUILD_PIP_CONF") RECSYS_BUILD_CA_CERTS=$(absolute "$RECSYS_BUILD_CA_CERTS")
    for file in "$RECSYS_BUILD_PIP_CONF" "$RECSYS_BUILD_CA_CERTS"; do
        [[ -r "$file" ]] || fail "$file cannot be read: RECSYS_BUILD_PIP_CONF and RECSYS_BUILD_CA_CERTS name files."
    done
}

# Redis's password, if you choose one yourself, goes where the local stack and the container `prepare` generate one: into a
# file that only its owner may read. Containers read it when they start: with another one `up` recreates them.
recreate=
write_password() {
    local password=${RECSYS_REDIS__PASSWORD:-} file=${RECSYS_REDIS__PASSWORD_FILE:-}
    if [[ -n "$file" ]]; then
        file=$(absolute "$file")
        [[ -r "$file" ]] || fail "RECSYS_REDIS__PASSWORD_FILE names $file, which cannot be read."
        password=$(< "$file")
    fi
    [[ -n "$password" ]] || return 0
    local folder=$exchange/online/secrets/redis
    if [[ -r $folder/password && $(< "$folder/password") != "$password" ]]; then
        [[ $1 != run ]] || fail "the containers were started with another password of Redis: make docker-up starts them with this one."
        recreate=yes
    fi
    (umask 077 && mkdir -p "$folder" && rm -f "$folder/password" && printf '%s' "$password" > "$folder/password")
    ((EUID != 0)) || chown "$RECSYS_UID" "$folder" "$folder/password" # as whom the containers read it
}

check_docker() {
    command -v docker > /dev/null || fail "docker is not installed: install Docker Engine 20.10 or newer, with Compose."
    local version said
    version=$(docker compose version --short 2> /dev/null) || fail "docker has no Compose: install its plugin, 2.26 or newer."
    version=${version#v}
    [[ $(printf '%s\n' 2.26 "$version" | sort -V | head -n 1) == 2.26 ]] ||
        fail "docker compose is $version, and 2.26 is needed: update the Compose plugin."
    if ! said=$(docker version --format '{{.Server.Version}}' 2>&1); then
        case $said in
            *"permission denied"*) fail "you may not use Docker: join the group docker and log in again, or run this with sudo." ;;
            *) fail "Docker's engine does not answer: start it (sudo systemctl start docker). It said: ${said##*$'\n'}" ;;
        esac
    fi
    [[ $(printf '%s\n' 20.10 "$said" | sort -V | head -n 1) == 20.10 ]] ||
        fail "Docker's engine is $said, and 20.10 is needed: update it."
}

# The setting of a port on this machine, by what the Compose files publish.
variable_of_port() {
    local variable default
    while read -r variable default; do
        [[ ${!variable:-$default} != "$1" ]] || { printf '%s' "$variable"; return; }
    done < <(sed -nE 's/.*"127\.0\.0\.1:\$\{([A-Z_]+):-([0-9]+)\}.*/\1 \2/p' docker-compose.yml docker-compose.ports.yml)
}

# What `docker compose up` said, in one sentence where it is a mistake that people make.
explain() {
    local said=$1 port service
    # on this machine, whose address comes first: "Bind for 127.0.0.1:6379 failed", "127.0.0.1:6379:172.18.0.2:6379/tcp"
    port=$(sed -nE '/already (allocated|in use)/s/.*127\.0\.0\.1:([0-9]+).*/\1/p' "$said" | head -n 1)
    if [[ -n "$port" ]]; then
        fail "port $port is taken: stop what listens there (make down, if it is the local stack), or choose another with $(variable_of_port "$port")."
    fi
    if grep -q 'prepare.* didn.t complete successfully' "$said"; then
        fail "$(docker compose logs --no-log-prefix --tail 1 prepare)"
    fi
    service=$(sed -nE 's/.*container .*-([a-z]+)-[0-9]+ (is unhealthy|exited).*/\1/p' "$said" | head -n 1)
    if [[ -n "$service" ]]; then
        docker compose logs --no-log-prefix --tail 20 "$service" >&2
        fail "$service did not become healthy; above is the end of what it said (docker compose logs $service)."
    fi
    cat "$said" >&2
    exit 1
}

# Two Redis on one folder would write over each other, on whatever ports. Containers keep each other out by a lock.
check_local_stack() {
    local pid
    pid=$(cat "$exchange/online/supervisor/supervisord.pid" 2> /dev/null) || return 0
    [[ ! -r /proc/$pid/cmdline || $(tr '\0' ' ' < "/proc/$pid/cmdline") != *supervisord* ]] ||
        fail "the local stack runs on $exchange: end it first (make down), or choose another folder with RECSYS_EXCHANGE_DIR."
}

# images=official: what is not built here.
pull_images() {
    [[ $COMPOSE_FILE != *official* ]] || docker compose pull redis elasticsearch feast triton
}

# The steps' image is large, and only the demo needs it.
get_images() {
    pull_images
    docker compose build
}

get_images_and_steps() {
    pull_images
    docker compose --profile steps build
}

start() {
    local said=$scratch/said
    docker compose up --detach --no-build --remove-orphans ${recreate:+--force-recreate} 2>&1 | tee "$said" || explain "$said"
    until_healthy server
}

# The server is the last one: it waits for the others.
until_healthy() {
    local id health
    id=$(docker compose ps --quiet "$1")
    for _ in $(seq 120); do
        health=$(docker inspect --format '{{.State.Health.Status}}' "$id")
        [[ $health != healthy ]] || { echo "$1 is healthy"; return; }
        sleep 0.5
    done
    docker compose logs --no-log-prefix --tail 20 "$1" >&2
    fail "$1 is $health after a minute; above is the end of what it said."
}

# A command in the container of the steps, which sees the data that RECSYS_DATA names.
in_steps() {
    local data=() path name
    if [[ -n "${RECSYS_DATA:-}" ]]; then
        path=$(absolute "$RECSYS_DATA")
        [[ -e "$path" ]] || fail "RECSYS_DATA names $RECSYS_DATA, which does not exist; containers take a file or folder, and no data set by name."
        name=$(basename "$path")
        data=(--volume "$path:/data/$name:ro" --env "RECSYS_DATA=/data/$name")
    fi
    docker compose run --rm --no-deps --no-TTY ${data[@]+"${data[@]}"} steps "$@"
}

timed() { # name, command
    local started=$SECONDS name=$1
    shift
    "$@"
    echo "--- $name: $((SECONDS - started)) s"
}

demo() {
    timed images get_images_and_steps
    timed services start
    timed offline in_steps make offline
    timed sync in_steps make sync
    in_steps sh -c "cd online/main && ../../.venv/bin/python s2_client.py --seen-at http://127.0.0.1:${RECSYS_SERVER__PORT:-5000}"
    echo "The containers stay up until:  make docker-down"
}

up() {
    get_images
    start
}

show_logs() {
    [[ -n $(docker compose ps --all --quiet) ]] || fail "there is no container yet: make docker-up."
    docker compose logs --tail 40 "$@"
}

show_status() {
    docker compose ps --all --format 'table {{.Service}}\t{{.Status}}\t{{.Ports}}'
    local ids
    mapfile -t ids < <(docker compose ps --quiet)
    ((${#ids[@]} == 0)) || docker stats --no-stream --format 'table {{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}' "${ids[@]}"
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
choose_files
choose_user
choose_notes
choose_build_secrets
check_docker
choose_folder
case ${1:-} in # the others change nothing
    demo | up)
        check_local_stack
        write_password up
        ;;
    run) write_password run ;;
esac
case ${1:-} in
    demo) demo ;;
    build) get_images_and_steps ;;
    up) up ;;
    down) docker compose --profile steps --profile monitoring down --remove-orphans --volumes ;;
    status) show_status ;;
    logs) show_logs "${@:2}" ;;
    run) in_steps "${@:2}" ;;
    *) fail "usage: docker.sh demo | build | up | down | status | logs [service] | run command" ;;
esac
