from django.urls import include, path

from . import health, pages

urlpatterns = [
    path("", pages.root),
    path("api/", include("tasks.urls")),
    path("healthz", health.LivenessView.as_view()),
    path("readyz", health.ReadinessView.as_view()),
    path("api/schema", pages.schema),
    path("api/docs", pages.swagger_page, name="docs"),
    *(path(f"static/{name}", pages.swagger_file, {"name": name}) for name in pages.SWAGGER_FILES),
]
