"""deploy/kubernetes: what kustomize makes, against the schemas of the API and what we rely on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml

from neo_polystore.settings import Settings
from tests.deploy.renderer import ROOT, manifests, secrets

FOLDERS = tuple(
    f"deploy/kubernetes/{name}" for name in ("base", "overlays/local", "overlays/production")
)
API = ("1.31", "1.34")
"""The oldest and the newest API that the manifests are held against."""


def pods(folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod's specification, by kind and name of what makes it."""
    for manifest in manifests(folder):
        spec = manifest.get("spec", {})
        if manifest["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if "template" in spec:
            yield f"{manifest['kind']} {manifest['metadata']['name']}", spec["template"]["spec"]


def one(folder: str, kind: str, name: str) -> dict[str, Any]:
    (found,) = [
        manifest
        for manifest in manifests(folder)
        if (manifest["kind"], manifest["metadata"]["name"]) == (kind, name)
    ]
    return found


@pytest.mark.parametrize("version", API)
@pytest.mark.parametrize("folder", FOLDERS)
def test_the_api_would_take_every_manifest(folder: str, version: str) -> None:
    for manifest in manifests(folder):
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_everything_is_in_the_namespace_of_the_specification(folder: str) -> None:
    for manifest in manifests(folder):
        if manifest["kind"] != "Namespace":
            assert manifest["metadata"]["namespace"] == "neo-service-layer", manifest


def test_the_database_is_as_the_specification_has_it() -> None:
    postgres = one(FOLDERS[0], "StatefulSet", "postgres-production")
    assert postgres["spec"]["replicas"] == 1
    assert postgres["spec"]["serviceName"] == "postgres"
    template = postgres["spec"]["template"]
    assert template["metadata"]["labels"]["app"] == "postgres"
    assert postgres["spec"]["selector"]["matchLabels"]["app"] == "postgres"
    resources = template["spec"]["containers"][0]["resources"]
    assert resources["requests"] == {"memory": "2Gi", "cpu": "1000m"}
    assert resources["limits"] == {"memory": "4Gi", "cpu": "2000m"}
    assert postgres["spec"]["volumeClaimTemplates"]


def test_the_nightly_backup_is_as_the_specification_has_it_and_runs_once() -> None:
    backup = one(FOLDERS[0], "CronJob", "database-backup")["spec"]
    assert backup["schedule"] == "0 2 * * *"
    assert backup["concurrencyPolicy"] == "Forbid"
    pod = backup["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "OnFailure"
    claims = [
        v["persistentVolumeClaim"]["claimName"]
        for v in pod["volumes"]
        if "persistentVolumeClaim" in v
    ]
    assert claims == ["backup-pvc"]
    assert one(FOLDERS[0], "PersistentVolumeClaim", "backup-pvc")


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_pod_may_do_more_than_the_restricted_profile(folder: str) -> None:
    for name, pod in pods(folder):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_container_is_pinned_and_bound(folder: str) -> None:
    for name, pod in pods(folder):
        for container in pod["containers"]:
            assert re.search(r":v?\d+\.\d+", container["image"]), name
            for part in ("requests", "limits"):
                assert set(container["resources"][part]) == {"memory", "cpu"}, name


def test_the_images_are_those_of_compose() -> None:
    composed = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].values()
    images = {service["image"] for service in composed}
    for name, pod in pods(FOLDERS[0]):
        for container in pod["containers"]:
            ours = container["image"].startswith("neo-polystore:")
            assert ours or container["image"] in images, name


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_reference_is_to_something_that_is_there(folder: str) -> None:
    there = {(each["kind"], each["metadata"]["name"]) for each in manifests(folder)}
    for name, pod in pods(folder):
        volumes = {volume["name"] for volume in pod.get("volumes", ())}
        for volume in pod.get("volumes", ()):
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in there, name
        claims = {"data"} if name.startswith("StatefulSet") else set()
        for container in pod["containers"]:
            for mount in container.get("volumeMounts", ()):
                assert mount["name"] in volumes | claims, name


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_secret_is_one_that_make_secrets_makes(folder: str) -> None:
    made = secrets()
    for name, pod in pods(folder):
        for container in pod["containers"]:
            for variable in container.get("env", ()):
                if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                    assert reference["name"] == "neo-polystore-secrets", name
                    assert reference["key"] in made, f"{name}: {reference['key']}"


def test_no_secret_stands_in_a_manifest() -> None:
    assert not [
        each for folder in FOLDERS for each in manifests(folder) if each["kind"] == "Secret"
    ]
    for name, pod in pods(FOLDERS[0]):
        for container in pod["containers"]:
            for variable in container.get("env", ()):
                if variable["name"].endswith(("PASSWORD", "SECRET_ACCESS_KEY")):
                    assert "value" not in variable, f"{name}: {variable['name']}"


def test_every_setting_of_the_platform_is_one() -> None:
    known = {name.upper() for name in Settings.model_fields} | {"PGSSLMODE", "PGSSLROOTCERT"}
    assert set(one(FOLDERS[2], "ConfigMap", "neo-polystore-settings")["data"]) <= known


def test_a_store_is_reached_by_clients_and_nobody_else() -> None:
    policies = {
        each["metadata"]["name"]: each["spec"]
        for each in manifests(FOLDERS[0])
        if each["kind"] == "NetworkPolicy"
    }
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    ports = {port["port"] for port in policies["stores"]["ingress"][0]["ports"]}
    for each in manifests(FOLDERS[0]):
        if each["kind"] == "StatefulSet" and each["metadata"]["name"] != "neo-polystore":
            template = each["spec"]["template"]
            assert template["metadata"]["labels"]["neo-polystore/role"] == "store"
            assert template["spec"]["containers"][0]["ports"][0]["containerPort"] in ports


def test_in_production_postgresql_is_asked_with_verified_tls_only() -> None:
    settings = one(FOLDERS[2], "ConfigMap", "neo-polystore-settings")["data"]
    assert settings["POSTGRES_SSLMODE"] == "verify-full"
    for name in ("postgres-production", "timescaledb"):
        arguments = one(FOLDERS[2], "StatefulSet", name)["spec"]["template"]["spec"]["containers"][
            0
        ]["args"]
        assert "ssl=on" in arguments
        assert "hba_file=/deploy-tls/pg_hba.conf" in arguments
        assert "hba_file=/deploy/pg_hba.conf" not in arguments
