"""A version arrives whole: at a server that speaks the Hub's endpoints, and in a real MLflow registry."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kasauti.core.errors import KasautiError, StorageError, UsageError
from kasauti.registry.publish import push_to_hub, push_to_mlflow
from kasauti.registry.register import register
from kasauti.registry.versions import Registry


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub as an upload of small files needs; remembers what it was sent."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        address = f"http://127.0.0.1:{self.server.server_port}"
        if self.path == "/api/repos/create":
            self.server.repository = json.loads(body)
            self.tell({"url": f"{address}/me/disputes"})
        elif self.path == "/api/validate-yaml":
            self.tell({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            self.tell({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]})
        elif "/commit/" in self.path:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    value = entry["value"]
                    self.server.files[value["path"]] = base64.b64decode(value["content"])
            self.tell({"commitUrl": f"{address}/me/disputes/commit/{'a' * 40}", "commitOid": "a" * 40})
        elif "/tag/" in self.path:
            self.server.tags.append(json.loads(body)["tag"])
            self.tell({})
        else:
            self.tell({}, 404)

    def do_GET(self):
        self.tell({"sha": "b" * 40, "siblings": [], "id": "me/disputes"})

    def tell(self, document, status=200):
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words):
        """Silent."""


@pytest.fixture
def hub(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.asked, server.files, server.tags, server.repository = [], {}, [], None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def registry(tried):
    task, trial = tried
    register(task, trial)
    return Registry(task)


def test_a_version_arrives_at_the_hub_file_by_file_and_tagged(registry, hub):
    place = push_to_hub(registry, 1, "me/disputes", endpoint=f"http://127.0.0.1:{hub.server_port}")
    assert place.endswith("/commit/" + "a" * 40)
    folder = registry.check(1).folder
    assert hub.files == {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*")}
    assert hub.tags == ["v1"]
    assert hub.repository["visibility"] == "private"
    assert {token for _, token in hub.asked} == {"Bearer hf_of_the_test"}


def test_a_hub_that_is_not_there_and_a_name_that_is_none_are_told(registry, hub):
    with pytest.raises(UsageError, match="'disputes' is no repository"):
        push_to_hub(registry, 1, "disputes")
    with pytest.raises(StorageError, match="the Hub, me/disputes"):
        push_to_hub(registry, 1, "me/disputes", endpoint="http://127.0.0.1:9")


def test_a_version_that_was_changed_is_not_sent(registry, hub):
    (registry.check(1).folder / "more").write_text("x")
    with pytest.raises(KasautiError, match="was changed after it was registered"):
        push_to_hub(registry, 1, "me/disputes", endpoint=f"http://127.0.0.1:{hub.server_port}")
    assert hub.asked == []


def test_a_folder_that_was_not_proved_is_not_sent(registry, hub, tmp_path):
    with pytest.raises(UsageError, match="is no proved merged model of version 1"):
        push_to_hub(registry, 1, "me/disputes", folder=str(tmp_path))


def test_a_version_is_registered_in_mlflow_with_its_figures(registry, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.chdir(tmp_path)  # where it puts artifacts by default
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert push_to_mlflow(registry, 1, "disputes", uri=uri) == "models:/disputes/1"
    assert push_to_mlflow(registry, 1, "disputes", uri=uri) == "models:/disputes/2"
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    found = client.get_model_version_by_alias("disputes", "champion")
    version = registry.check(1)
    assert found.tags["kasauti.sha256"] == version.sha256
    run = client.get_run(found.run_id)
    assert run.data.metrics["accuracy"] == pytest.approx(version.card["evaluation"]["accuracy"]["value"])
    names = {file.path.removeprefix("model/") for file in client.list_artifacts(found.run_id, "model")}
    assert names == {path.name for path in version.folder.iterdir()}
