from typing import Any

import pytest
from django.test import Client


@pytest.fixture
def document() -> Any:
    response = Client().get("/api/schema")
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    return response.json()


def test_the_document_has_the_operations_of_the_contract_and_no_other(document: Any) -> None:
    operations = {
        (method.upper(), path): operation["operationId"]
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert operations == {
        ("GET", "/api/tasks"): "listTasks",
        ("POST", "/api/tasks"): "createTask",
        ("GET", "/api/tasks/{id}"): "getTask",
        ("PUT", "/api/tasks/{id}"): "updateTask",
        ("PATCH", "/api/tasks/{id}"): "patchTask",
        ("PATCH", "/api/tasks/{id}/complete"): "toggleTask",
        ("DELETE", "/api/tasks/{id}"): "deleteTask",
    }
    assert "/api/{user_id}/tasks" in document["info"]["description"]


def test_an_id_is_an_integer_of_64_bits_and_only_a_title_is_required(document: Any) -> None:
    [task_id] = document["paths"]["/api/tasks/{id}"]["get"]["parameters"]
    assert (task_id["name"], task_id["schema"]) == ("id", {"type": "integer", "format": "int64"})
    assert document["components"]["schemas"]["TaskRequest"]["required"] == ["title"]


def test_every_operation_wants_a_bearer_token(document: Any) -> None:
    assert document["components"]["securitySchemes"] == {
        "BetterAuth": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    }
    for methods in document["paths"].values():
        for operation in methods.values():
            assert operation["security"] == [{"BetterAuth": []}]


def test_the_document_needs_no_token_and_is_json_whatever_is_accepted() -> None:
    for path in ["/api/schema", "/api/schema/", "/api/schema?format=yaml"]:
        response = Client().get(path, headers={"Accept": "application/yaml", "Authorization": "Bearer x"})
        assert response.status_code == 200
        assert response.json()["openapi"].startswith("3.")


@pytest.mark.parametrize("debug", [False, True])
def test_the_swagger_page_and_its_assets_come_from_here(debug: bool, settings: Any) -> None:
    settings.DEBUG = debug
    for path in ["/api/docs", "/api/docs/"]:
        page = Client().get(path)
        assert page.status_code == 200
        assert page["Content-Type"].startswith("text/html")
        html = page.content.decode()
        assert "/api/schema" in html
        assets = [part.split('"')[0] for part in html.split('"/static/')[1:]]
        assert [asset.rpartition("/")[2] for asset in assets] == [
            *("favicon-32x32.png", "swagger-ui.css", "swagger-ui-bundle.js", "swagger-ui-standalone-preset.js")
        ]
        assert "https://" not in html
        assert "http://" not in html
        for asset in assets:
            response: Any = Client().get(f"/static/{asset}")
            assert response.status_code == 200
            assert len(b"".join(response.streaming_content)) > 500
