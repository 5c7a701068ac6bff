"""A version sent to where others keep models: a repository of the Hugging Face Hub, or an MLflow registry.

Walks in: a registry, the number of a version (or its merged folder), an address. Walks out: where it is now. It does
not know what a version is made of.

A version is checked against its hash before it is sent, and carries its number as a tag (Hub) or as tags of the model
version (MLflow), so that what is found there can be traced to the event that made it here.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kasauti.core.errors import KasautiError, StorageError, UsageError
from kasauti.registry.merged import PROOF
from kasauti.registry.versions import Registry, Version


def push_to_hub(
    registry: Registry, number: int, repository: str, *, folder: str | None = None, private: bool = True,
    endpoint: str | None = None,
) -> str:  # fmt: skip
    """Send a version to a repository of the Hub, made where there is none, and tag it `v<n>`.

    The user's own token is used, from `hf auth login` or HF_TOKEN.

    Args:
        repository: `owner/name`.
        folder: a merged model of this version to send in its place.
        private: whether a new repository is.
        endpoint: another Hub; None takes HF_ENDPOINT or huggingface.co.

    Returns:
        The address of the commit.

    Raises:
        UsageError: the name is none, or the folder is no merged model of this version.
        StorageError: the Hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    if repository.count("/") != 1:
        raise UsageError(f"{repository!r} is no repository", where="--hub", mend="Write owner/name.")
    version = registry.check(number)
    path = _folder(version, folder)
    api = HfApi(endpoint=endpoint)
    try:
        validate_repo_id(repository)
        api.create_repo(repository, private=private, exist_ok=True)
        made = api.upload_folder(
            repo_id=repository,
            folder_path=str(path),
            commit_message=f"Version {number} of {version.card['task']}",
            commit_description=f"sha256 of the version: {version.sha256}",
        )
        api.create_tag(repository, tag=f"v{number}", revision=made.oid, exist_ok=True)
    except HFValidationError as error:
        raise UsageError(f"{repository!r} is no repository: {error}", where="--hub", mend="Write owner/name.") from None
    except Exception as error:  # its own kinds, those of the connection below it, and plain OSErrors
        raise _unreachable(error, f"the Hub, {repository}", "Log in with `hf auth login`, or set HF_TOKEN.") from error
    return str(made.commit_url)


def push_to_mlflow(
    registry: Registry, number: int, name: str, *, folder: str | None = None, uri: str | None = None
) -> str:
    """Register a version in an MLflow registry: its files as artifacts of a run, its figures as metrics, and a model
    version with tags. The champion gets the alias `champion`.

    Args:
        name: of the registered model; made where there is none.
        folder: a merged model of this version to send in its place.
        uri: of the tracking server or database; None takes MLFLOW_TRACKING_URI.

    Returns:
        `models:/<name>/<version there>`.

    Raises:
        UsageError: MLflow is not installed, or the folder is no merged model of this version.
        StorageError: the server cannot be reached, or refuses.
    """
    if importlib.util.find_spec("mlflow") is None:
        mend = "Install it with `pip install kasauti[mlflow]`."
        raise UsageError("mlflow is not installed", where="--mlflow", mend=mend)
    version = registry.check(number)
    path = _folder(version, folder)
    champion = registry.standing().champion == number
    try:
        return _to_mlflow(version, path, name, uri, champion)
    except Exception as error:
        raise _unreachable(error, f"MLflow, {uri or 'MLFLOW_TRACKING_URI'}", "Check --uri.") from error


def _to_mlflow(version: Version, path: Path, name: str, uri: str | None, champion: bool) -> str:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    found = client.get_experiment_by_name(name)
    experiment = found.experiment_id if found else client.create_experiment(name)
    tags = _tags(version)
    run = client.create_run(experiment, run_name=f"{name}-{version.number}", tags=tags)
    run_id = run.info.run_id
    for metric, value in _figures(version.card["evaluation"]).items():
        client.log_metric(run_id, metric, value)
    client.log_artifacts(run_id, str(path), "model")
    client.set_terminated(run_id)
    try:
        client.get_registered_model(name)
    except MlflowException:
        client.create_registered_model(name)
    made = client.create_model_version(name, f"{run.info.artifact_uri}/model", run_id=run_id, tags=tags)
    if champion:
        client.set_registered_model_alias(name, "champion", made.version)
    return f"models:/{name}/{made.version}"


def _tags(version: Version) -> dict[str, str]:
    card = version.card
    return {
        "kasauti.version": str(version.number),
        "kasauti.sha256": version.sha256,
        "kasauti.task": str(card["task"]),
        "kasauti.approach": str(card["approach"]),
        "kasauti.trial": str(card["trial"]),
        "kasauti.judged": str(card["judged"]),
        "kasauti.data_version": str(card["data"]["version"]),
        "kasauti.template_sha256": str(card["model"].get("template_sha256", "")),
        "kasauti.licence": str(card["model"].get("licence", "")),
    }


def _figures(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """Numbers alone, intervals as two of them."""
    found: dict[str, float] = {}
    for name in ("accuracy", "ece", "macro_f1", "invalid_rate", "log_loss", "cost_per_1k_calls"):
        value = evaluation.get(name)
        if isinstance(value, Mapping):
            found |= {name: float(value["value"]), f"{name}_low": float(value["low"])}
            found[f"{name}_high"] = float(value["high"])
        elif value is not None:
            found[name] = float(value)
    return found


def _folder(version: Version, folder: str | None) -> Path:
    if folder is None:
        return version.folder
    proof = Path(folder) / PROOF
    told = json.loads(proof.read_text("utf-8")) if proof.is_file() else {}
    if told.get("version_sha256") != version.sha256 or not told.get("passed"):
        mend = f"Make it with `kasauti merge {version.number}`."
        raise UsageError(f"is no proved merged model of version {version.number}", where=folder, mend=mend)
    return Path(folder)


def _unreachable(error: Exception, where: str, mend: str) -> KasautiError:
    if isinstance(error, KasautiError):
        return error
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return StorageError(lines[0][:300], where=where, mend=mend)
