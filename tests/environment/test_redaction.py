"""Secrets are removed from command lines and differences, and other text stays as it is."""

import pytest

from lkca_search.environment.redaction import command_line, redact

SECRETS = [
    ("password = 'hunter2'", "password = ***"),
    ('DB_PASSWORD: "pass word"', "DB_PASSWORD: ***"),
    ("export AWS_SECRET_ACCESS_KEY=abcdefgh/ijkl", "export AWS_SECRET_ACCESS_KEY=***"),
    ("api_key=12345, depth=3", "api_key=***, depth=3"),
    ("TOKEN = 'abcdefgh1234'", "TOKEN = ***"),
    ("token=a1b2c3d4e5f6g7h8i9", "token=***"),
    ("https://user:pa@ss@host/path", "https://***@host/path"),
    ("postgresql://me@host/db", "postgresql://***@host/db"),
    ("s3://bucket?access_key=abc&secret_key=d/e&region=x", "s3://bucket?access_key=***&secret_key=***&region=x"),
    ('{"Authorization": "Bearer abc.def"}', '{"Authorization": "Bearer ***"}'),
    ("key AKIAABCDEFGHIJKLMNOP end", "key *** end"),
    ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "***"),
    ("hf_abcdefghijklmnopqrstuvwxyz", "***"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "***"),
    ("a\n-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\nb", "a\n***\nb"),
    ("-----BEGIN PRIVATE KEY-----\ncut off", "***"),
]


@pytest.mark.parametrize(("text", "shown"), SECRETS)
def test_a_secret_is_removed(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "class_token = self.class_token.expand(batch, -1, -1)",
        "num_tokens=grid * grid + 1",
        "for key, value in sorted(names.items()):",
        "key: str = 'width'",
        "https://host/path?draw=1",
        "factors.family=[lkca,vit]",
    ],
)
def test_code_and_overrides_stay_as_they_are(text: str) -> None:
    assert redact(text) == text


def test_the_values_of_secret_variables_are_removed_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correct horse")
    monkeypatch.setenv("SOME_TOKEN", "abc")  # shorter values occur by chance
    monkeypatch.setenv("RAY_KEY_FILE", "/etc/keys/ray")
    assert redact("a correct horse, abc /etc/keys/ray") == "a ***, abc /etc/keys/ray"


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["/x/lkca_search/__main__.py", "run", "a b.yaml", "k=[1, 2]"], "lkca-search run 'a b.yaml' 'k=[1, 2]'"),
        (["/bin/lkca-search", "run", "--name", "x"], "lkca-search run --name x"),
        (["train.py", "--api-token", "abc", "--depth", "3"], "train.py --api-token '***' --depth 3"),
        (["train.py", "--password=abc"], "train.py '--password=***'"),
        (["s", "submit", "--headers", '{"X-Login": "abc"}'], "s submit --headers '***'"),
        (["s", "--ledger", "postgresql://u:p@h/d"], "s --ledger 'postgresql://***@h/d'"),
        ([], ""),
    ],
)
def test_the_command_line_has_no_secret(arguments: list[str], shown: str) -> None:
    assert command_line(arguments) == shown
