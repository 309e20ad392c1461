#!/usr/bin/env bash
# Start an MLflow server behind a login: runs and users in PostgreSQL, artifacts in an object store.
#
#   MLFLOW_BACKEND_STORE_URI          postgresql://USER@HOST/DATABASE; password in PGPASSWORD or PGPASSFILE
#   MLFLOW_ARTIFACTS_DESTINATION      s3://BUCKET/PATH, gs://BUCKET/PATH or file:///PATH
#   MLFLOW_AUTH_ADMIN_USERNAME        administrator, with MLFLOW_AUTH_ADMIN_PASSWORD (at least 12 characters)
#   MLFLOW_TRACKING_USERNAME          login of drivers, with MLFLOW_TRACKING_PASSWORD; optional
#   MLFLOW_FLASK_SERVER_SECRET_KEY    signs the form for new users; the same at every start
#   MLFLOW_HOST, MLFLOW_PORT          address of the server; default 127.0.0.1 and 5000
#   MLFLOW_SERVER_ALLOWED_HOSTS       host names of the server; default the loopback interface
#   MLFLOW_WORKERS                    number of server processes; default 2
#
# Secrets come from the environment and are in no file and no command line.
set -euo pipefail
umask 077

die() {
    echo "start.sh: $*" >&2
    exit 2
}

for name in MLFLOW_BACKEND_STORE_URI MLFLOW_ARTIFACTS_DESTINATION MLFLOW_AUTH_ADMIN_USERNAME \
    MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY; do
    [[ -n "${!name:-}" ]] || die "$name is not set"
done
case "$MLFLOW_BACKEND_STORE_URI" in
    *://*:*@* | *password=*) die "MLFLOW_BACKEND_STORE_URI must not contain a password; use PGPASSWORD or PGPASSFILE" ;;
    postgresql://*) export MLFLOW_BACKEND_STORE_URI="postgresql+psycopg://${MLFLOW_BACKEND_STORE_URI#*://}" ;;
    *) die "MLFLOW_BACKEND_STORE_URI must be postgresql://USER@HOST/DATABASE" ;;
esac
case "$MLFLOW_ARTIFACTS_DESTINATION" in
    s3://?* | gs://?* | file:///?*) ;;
    *) die "MLFLOW_ARTIFACTS_DESTINATION must be s3://BUCKET/PATH, gs://BUCKET/PATH or file:///PATH" ;;
esac

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
host="${MLFLOW_HOST:-127.0.0.1}"
port="${MLFLOW_PORT:-5000}"
loopback="localhost:$port,127.0.0.1:$port"
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
export MLFLOW_DISABLE_TELEMETRY=true
export MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false

# MLflow reads the URL of the users' database from a file only, not from a variable.
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
export MLFLOW_AUTH_CONFIG_PATH="$folder/login.ini"
cat >"$MLFLOW_AUTH_CONFIG_PATH" <<END
[mlflow]
database_uri = ${MLFLOW_BACKEND_STORE_URI//%/%%}
default_permission = READ
# Hash a password once per minute, not per request; an old password may work for that long.
auth_cache_ttl_seconds = 60
END

"${LKCA_PYTHON:-python}" "$here/logins.py"
# The server processes need no password, since the users are in the database.
unset MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_TRACKING_USERNAME MLFLOW_TRACKING_PASSWORD

"${LKCA_PYTHON:-python}" -m mlflow server --app-name basic-auth --host "$host" --port "$port" \
    --workers "${MLFLOW_WORKERS:-2}" --allowed-hosts "${MLFLOW_SERVER_ALLOWED_HOSTS:-$loopback}" &
server=$!
trap 'kill -TERM "$server" 2>/dev/null || true' TERM INT
status=0
wait "$server" || status=$?
# A signal ends `wait` before the server ends.
while kill -0 "$server" 2>/dev/null; do
    wait "$server" || status=$?
done
exit "$status"
