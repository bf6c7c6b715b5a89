"""The manifests in docs/kubernetes fit Kubernetes' own schemas, and say what their page says of them; the container recipe too."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from loadlab.cli.app import app

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "docs" / "kubernetes").glob("*.yaml"))
OLDEST, NEWEST = "1.29.0", "1.34.0"


def _objects(file: Path) -> list[dict[str, Any]]:
    return [found for found in yaml.safe_load_all(file.read_text()) if found]


OBJECTS = [pytest.param(found, id=f"{file.name} {found['kind']} {found['metadata']['name']}") for file in FILES for found in _objects(file)]


def _pods() -> Iterator[dict[str, Any]]:
    for file in FILES:
        for found in _objects(file):
            if found["kind"] in ("Deployment", "Job"):
                yield found["spec"]["template"]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("found", OBJECTS)
def test_each_object_fits_its_schema(found: dict[str, Any], version: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kubernetes_validate.validate(found, version, strict=True)


def test_the_check_finds_a_word_that_is_none() -> None:
    (job,) = (found for found in _objects(ROOT / "docs" / "kubernetes" / "60-workers.yaml") if found["kind"] == "Job")
    job["spec"]["template"]["spec"]["containers"][0]["readOnly"] = True
    with pytest.raises(Exception, match="readOnly"):
        kubernetes_validate.validate(job, NEWEST, strict=True)


def test_everything_lies_in_the_namespace() -> None:
    for file in FILES:
        for found in _objects(file):
            assert found["kind"] == "Namespace" or found["metadata"]["namespace"] == "loadlab", found["metadata"]["name"]


def test_no_container_is_root_writes_its_root_or_has_a_token() -> None:
    pods = list(_pods())
    assert len(pods) == 4
    for pod in pods:
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
            assert set(container["resources"]) == {"requests", "limits"}
            assert ":" in container["image"]
            assert not container["image"].endswith(":latest")


def test_our_arguments_are_options_that_the_command_has() -> None:
    group = typer.main.get_command(app)
    for pod in _pods():
        for container in pod["spec"]["containers"]:
            if not container["image"].startswith("loadlab:"):
                continue
            verb, *rest = container["args"]
            known = {text for parameter in group.commands[verb].params for text in (*parameter.opts, *parameter.secondary_opts)}  # type: ignore[attr-defined]
            assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= known


def test_as_many_workers_start_as_the_master_waits_for() -> None:
    (workers,) = _objects(ROOT / "docs" / "kubernetes" / "60-workers.yaml")
    (master,) = (found for found in _objects(ROOT / "docs" / "kubernetes" / "50-master.yaml") if found["kind"] == "Job")
    args = master["spec"]["template"]["spec"]["containers"][0]["args"]
    spec = workers["spec"]
    assert f"--expect-workers={spec['completions']}" in args
    assert spec["completions"] == spec["parallelism"]
    other = spec["template"]["spec"]["containers"][0]["args"]
    assert args[:5] == other[:5], "both plan the same"


def test_nothing_is_reached_that_no_policy_names() -> None:
    policies = {found["metadata"]["name"]: found["spec"] for found in _objects(ROOT / "docs" / "kubernetes" / "20-network.yaml")}
    assert policies["deny-all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    components = {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in _pods()}
    for name, spec in policies.items():
        if spec["podSelector"]:
            assert spec["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == name
            assert name in components


def test_the_quota_has_room_for_all_of_it() -> None:
    (quota,) = (found for found in _objects(ROOT / "docs" / "kubernetes" / "10-namespace.yaml") if found["kind"] == "ResourceQuota")
    cores = sum(float(container["resources"]["limits"]["cpu"]) for pod in _pods() for container in pod["spec"]["containers"])
    second_worker = 1.0  # the file says one pod's share, and the job has two
    assert cores + second_worker <= float(quota["spec"]["hard"]["limits.cpu"])


def test_the_container_takes_its_dependencies_from_the_lock_and_is_not_root() -> None:
    lines = (ROOT / "Containerfile").read_text().splitlines()
    assert any("--require-hashes -r requirements.lock" in line for line in lines)
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]}
    assert copied <= kept
    assert all((ROOT / name).exists() for name in copied)
