#!/bin/sh
# Run a command against the rehearsal that up.py has started: with.sh lkca-search submit search_spaces/quickstart.yaml
set -eu
environment="${LKCA_REHEARSAL:-lkca_rehearsal}/environment"
if [ ! -f "$environment" ]; then
    echo "no rehearsal runs in $(dirname "$environment"): start one by python cluster/local/up.py" >&2
    exit 2
fi
set -a
. "$environment"
set +a
exec "$@"
