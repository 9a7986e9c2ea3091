from django.urls import include, path, re_path
from drf_spectacular.renderers import OpenApiJsonRenderer2
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerView

from . import exceptions, health

read_only = ["get", "head"]

urlpatterns = [
    path("healthz", health.LivenessView.as_view()),
    path("readyz", health.ReadinessView.as_view()),
    path(
        "api/schema",
        SpectacularJSONAPIView.as_view(renderer_classes=[OpenApiJsonRenderer2], http_method_names=read_only),
        name="schema",
    ),
    path("api/docs", SpectacularSwaggerView.as_view(url_name="schema", http_method_names=read_only), name="docs"),
    path("api/", include("tasks.urls")),
    # Django's own answer to an unrouted path is HTML with DEBUG.
    re_path("", exceptions.not_found),
]
handler400 = exceptions.bad_request
handler500 = exceptions.server_error
