"""Create or update the logins of an MLflow server from environment variables."""

import os

from mlflow.server import auth

ADMIN = "MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD"
DRIVER = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"


def save_login(name: str, password: str, *, is_admin: bool) -> None:
    """Create a user, or set the password of an existing one."""
    if not auth.store.has_user(name):
        auth.store.create_user(name, password, is_admin=is_admin)
    elif not auth.store.authenticate_user(name, password):
        auth.store.update_user(name, password=password)


def main() -> None:
    """Save the login of the administrator and, if given, the one of the drivers."""
    auth.store.init_db(auth.auth_config.database_uri)
    for (name, password), is_admin in ((ADMIN, True), (DRIVER, False)):
        if os.environ.get(name):
            save_login(os.environ[name], os.environ[password], is_admin=is_admin)


if __name__ == "__main__":
    main()
