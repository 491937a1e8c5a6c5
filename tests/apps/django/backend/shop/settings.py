"""Settings of a small Django app behind an edge that ends TLS, or stands behind what does."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent
SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = [".example.org", "localhost", "127.0.0.1"]
# the edge replaces this header, unless `edge.trusted_proxies` sent it
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
CSRF_COOKIE_SECURE = SESSION_COOKIE_SECURE = True
INSTALLED_APPS = ["django.contrib.staticfiles", "shop"]
MIDDLEWARE = ["django.middleware.csrf.CsrfViewMiddleware"]
ROOT_URLCONF = "shop.urls"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ["PGHOST"],
        "NAME": os.environ["PGDATABASE"],
        "USER": os.environ["PGUSER"],
        "PASSWORD": os.environ["POSTGRES_PASSWORD"],
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# a folder for each release: pages of the one before still ask for theirs, and collectstatic, which goes by the times of
# files, would leave a later release's in place on the way back
STATIC_URL = f"/static/{os.environ['RELEASE']}/"
STATIC_ROOT = f"/site/static/{os.environ['RELEASE']}"
USE_TZ = True
