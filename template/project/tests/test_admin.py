import re
from pathlib import Path

import pytest
from django.contrib import admin
from django.contrib.auth.models import AbstractUser
from django.core.management import call_command
from django.test import Client
from django.utils.html import escape
from pytest_django import Settings


@pytest.fixture
def _collected(settings: Settings, tmp_path: Path) -> None:
    """Collect the static files, as the image build does."""
    backend = "whitenoise.storage.CompressedManifestStaticFilesStorage"
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": backend}}
    call_command("collectstatic", interactive=False, verbosity=0)


@pytest.mark.django_db
def test_the_first_page_leads_to_the_admin(client: Client) -> None:
    links = re.findall(r'href="([^"]+)"', client.get("/").text)
    assert links == ["/admin/", "/livez", "/readyz"]
    assert client.get(links[0], follow=True).redirect_chain == [("/admin/login/?next=/admin/", 302)]


@pytest.mark.django_db
def test_the_admin_bears_the_name_of_the_project(client: Client) -> None:
    page = client.get("/admin/login/").text
    assert escape(admin.site.site_header) in page
    assert "Django administration" not in page


@pytest.mark.django_db
@pytest.mark.usefixtures("_collected")
def test_the_login_page_has_its_stylesheets(client: Client) -> None:
    page = client.get("/admin/login/").text
    sheets = re.findall(r'<link rel="stylesheet" href="([^"]+)"', page)
    assert sheets
    for sheet in sheets:
        answer = client.get(sheet)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == 'text/css; charset="utf-8"'
        assert "immutable" in answer.headers["Cache-Control"]
        answer.close()


@pytest.mark.django_db
def test_a_user_can_log_in(admin_user: AbstractUser) -> None:
    browser = Client(enforce_csrf_checks=True)
    form = browser.get("/admin/login/").context["csrf_token"]
    answer = browser.post(
        "/admin/login/?next=/admin/",
        {"username": admin_user.username, "password": "password", "csrfmiddlewaretoken": form},
        follow=True,
    )
    assert answer.redirect_chain == [("/admin/", 302)]
    assert answer.context["user"] == admin_user


@pytest.mark.parametrize(
    "page",
    ["/", "/admin/", "/admin/users/user/", "/admin/users/user/add/", "/admin/auth/group/add/"],
)
def test_pages_work_with_the_content_security_policy(admin_client: Client, page: str) -> None:
    answer = admin_client.get(page)
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    nonces = re.findall(r"'nonce-([^']+)'", policy)
    assert "unsafe" not in policy
    assert len(set(nonces)) == 1
    for tag in re.findall(r"<(?:script|style)\b[^>]*>", answer.text):
        assert f'nonce="{nonces[0]}"' in tag
    assert not re.search(r"<[^>]+\s(?:style|on[a-z]+)=", answer.text)
