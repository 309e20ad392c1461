"""Bring the logins that the environment names into the users' database of an MLflow server: made, or up to date."""

import os

from mlflow.server import auth

ADMIN = "MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD"
DRIVER = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"


def bring(name: str, password: str, *, is_admin: bool) -> None:
    """Make a user with a password, or give that password to the one who is there."""
    if not auth.store.has_user(name):
        auth.store.create_user(name, password, is_admin=is_admin)
    elif not auth.store.authenticate_user(name, password):
        auth.store.update_user(name, password=password)


def main() -> None:
    """Bring the administrator's login and, if one is named, the drivers'."""
    auth.store.init_db(auth.auth_config.database_uri)
    for (name, password), is_admin in ((ADMIN, True), (DRIVER, False)):
        if os.environ.get(name):
            bring(os.environ[name], os.environ[password], is_admin=is_admin)


if __name__ == "__main__":
    main()
