"""What every test may use: three people, clients that are logged in as them, Chromium, and the marks that are off by default."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests import browser
from tests.groups import Groups

if TYPE_CHECKING:
    from django.test import Client
    from xdist.remote import Producer

    from webapp.accounts.models import User

OFF_BY_DEFAULT = "not heavy and not gpu"

os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # Playwright's loop runs in the thread of the test


def pytest_configure(config: pytest.Config) -> None:
    """Leave out heavy and gpu tests unless -m says which are wanted."""
    if not config.option.markexpr:
        config.option.markexpr = OFF_BY_DEFAULT


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what drives Chromium last: from its first use Playwright's event loop stays in the thread of the tests, where no
    other asynchronous code can then run."""
    items.sort(key=lambda item: "playwright" in getattr(item, "fixturenames", ()))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups:
    """Where several processes share the tests, give each whole groups of them."""
    return Groups(config, log)


@pytest.fixture
def alice(db: None) -> User:
    """Alice owns things."""
    from tests.factories import make_user

    return make_user("alice")


@pytest.fixture
def bob(db: None) -> User:
    """Bob is another person who may act on the site."""
    from tests.factories import make_user

    return make_user("bob")


@pytest.fixture
def charlie(db: None) -> User:
    """Charlie has an account that was closed."""
    from tests.factories import make_user

    return make_user("charlie", is_active=False)


@pytest.fixture
def alice_client(alice: User) -> Client:
    """A browser where Alice is logged in; the fixture `client` is one where nobody is."""
    return _client_of(alice)


@pytest.fixture
def bob_client(bob: User) -> Client:
    """A browser where Bob is logged in."""
    return _client_of(bob)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, object]) -> dict[str, object]:
    """Have pytest-playwright start the Chromium of this machine."""
    if browser.chromium() is None:
        (pytest.fail if browser.required() else pytest.skip)(browser.MISSING)
    return {**browser_type_launch_args, **browser.launch_args()}


def _client_of(user: User) -> Client:
    from django.test import Client

    client = Client()
    client.force_login(user)
    return client
