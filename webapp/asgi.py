"""The ASGI application that uvicorn serves."""

import os

from django.core.asgi import get_asgi_application

from webapp.middleware import BodyLimit

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
application = BodyLimit(get_asgi_application())
