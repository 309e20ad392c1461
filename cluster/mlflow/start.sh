#!/usr/bin/env bash
# Start an MLflow server behind a login: runs and users in PostgreSQL, artifacts in an object store.
#
#   MLFLOW_BACKEND_STORE_URI          postgresql://USER@HOST/DATABASE; the password by PGPASSWORD or PGPASSFILE
#   MLFLOW_ARTIFACTS_DESTINATION      s3://BUCKET/PATH, gs://BUCKET/PATH or file:///PATH
#   MLFLOW_AUTH_ADMIN_USERNAME        who makes users, with MLFLOW_AUTH_ADMIN_PASSWORD (12 characters or more)
#   MLFLOW_TRACKING_USERNAME          what drivers log in with, and MLFLOW_TRACKING_PASSWORD; may be left out
#   MLFLOW_FLASK_SERVER_SECRET_KEY    signs the form for a new user; the same at every start
#   MLFLOW_HOST, MLFLOW_PORT          where it listens: 127.0.0.1 and 5000, unless given
#   MLFLOW_SERVER_ALLOWED_HOSTS       the names it is called by; this machine's loopback, unless given
#   MLFLOW_WORKERS                    processes that answer: 2, unless given
#
# What is secret comes from the environment, and stands in no file and on no command line.
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
    *://*:*@* | *password=*) die "MLFLOW_BACKEND_STORE_URI holds a password; give it by PGPASSWORD or PGPASSFILE" ;;
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

# The users' database has no variable, only a file.
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
export MLFLOW_AUTH_CONFIG_PATH="$folder/login.ini"
cat >"$MLFLOW_AUTH_CONFIG_PATH" <<END
[mlflow]
database_uri = ${MLFLOW_BACKEND_STORE_URI//%/%%}
default_permission = READ
# A password is hashed once a minute, and not with every call; so long may one that was changed still be good.
auth_cache_ttl_seconds = 60
END

"${LKCA_PYTHON:-python}" "$here/logins.py"
# The processes that answer need neither password: the users are in the database.
unset MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_TRACKING_USERNAME MLFLOW_TRACKING_PASSWORD

"${LKCA_PYTHON:-python}" -m mlflow server --app-name basic-auth --host "$host" --port "$port" \
    --workers "${MLFLOW_WORKERS:-2}" --allowed-hosts "${MLFLOW_SERVER_ALLOWED_HOSTS:-$loopback}" &
server=$!
trap 'kill -TERM "$server" 2>/dev/null || true' TERM INT
status=0
wait "$server" || status=$?
# A signal ends the wait before the server.
while kill -0 "$server" 2>/dev/null; do
    wait "$server" || status=$?
done
exit "$status"
