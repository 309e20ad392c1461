#!/bin/sh
# Run a command on the running test cluster:  cluster/local/with.sh lkca-search submit search_spaces/quickstart.yaml
set -eu
environment="${LKCA_REHEARSAL:-lkca_rehearsal}/environment"
if [ ! -f "$environment" ]; then
    echo "no test cluster is running in $(dirname "$environment"); start one with: python -m cluster.local.up" >&2
    exit 2
fi
set -a
. "$environment"
set +a
# The nodes have this variable, and `submit` refuses an address that only one machine can reach.
[ "${2:-}" != submit ] || unset MLFLOW_TRACKING_URI
exec "$@"
