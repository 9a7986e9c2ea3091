from django.urls import include, path
from drf_spectacular.renderers import OpenApiJsonRenderer2
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerView

from . import health

read_only = ["get", "head"]

urlpatterns = [
    path("api/", include("tasks.urls")),
    path("healthz", health.LivenessView.as_view()),
    path("readyz", health.ReadinessView.as_view()),
    path(
        "api/schema",
        SpectacularJSONAPIView.as_view(renderer_classes=[OpenApiJsonRenderer2], http_method_names=read_only),
        name="schema",
    ),
    path("api/docs", SpectacularSwaggerView.as_view(url_name="schema", http_method_names=read_only), name="docs"),
]
