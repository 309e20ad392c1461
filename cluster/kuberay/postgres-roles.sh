#!/usr/bin/env bash
# Create a role and a database for the ledger and for MLflow. PostgreSQL's image runs this once, on an empty volume.
set -euo pipefail

psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'END'
\getenv ledger LEDGER_PASSWORD
\getenv mlflow MLFLOW_PASSWORD
CREATE ROLE ledger LOGIN PASSWORD :'ledger';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow';
CREATE DATABASE ledger OWNER ledger;
CREATE DATABASE mlflow OWNER mlflow;
REVOKE CONNECT ON DATABASE ledger, mlflow FROM PUBLIC;
END
