"""Composes sealing from the settings: who wraps the keys, over which store, with which rules."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import cast

from neo_polystore.attestation.fetching import Fetcher
from neo_polystore.audit.trail import AuditTrail
from neo_polystore.errors import ConfigError
from neo_polystore.keys.local import LocalWrapper, key_from_file
from neo_polystore.ports.keys import KeyWrapper
from neo_polystore.ports.sealing import SealingStore
from neo_polystore.ports.store import Store
from neo_polystore.records.key_text import key_of_text
from neo_polystore.sealing.drafts import Rules
from neo_polystore.sealing.ring import KeyRing
from neo_polystore.sealing.service import Sealing
from neo_polystore.settings import Settings

KEY_FILE = "sealing.key"


def sealing_over(
    stores: Mapping[str, Store], trail: AuditTrail | None, settings: Settings
) -> Sealing | None:
    """Sealing, where a store for it and the audit trail are open."""
    found = [store for store in stores.values() if "sealing" in store.features]
    if not found or trail is None:
        return None
    store = cast(SealingStore, found[0])
    return Sealing(
        store,
        KeyRing(store.sealing_keys, lambda: key_wrapper(settings)),
        trail=trail,
        fetcher=Fetcher(settings.neo_pccs_url) if settings.neo_pccs_url else None,
        rules=Rules(
            largest=settings.neo_sealed_max_bytes,
            retention=timedelta(days=settings.sgx_data_retention_days),
            hardware=settings.sgx_enable_hardware_mode,
        ),
    )


def key_wrapper(settings: Settings) -> KeyWrapper:
    """Who wraps the master keys; ConfigError naming the setting that is missing."""
    match settings.neo_key_wrapper:
        case "kms":
            from neo_polystore.keys.kms import KmsWrapper

            return KmsWrapper(
                _needed(settings.neo_kms_key_id, "NEO_KMS_KEY_ID"),
                region=settings.s3_region,
                endpoint_url=settings.neo_kms_endpoint_url,
            )
        case "vault":
            from neo_polystore.keys.vault import VaultWrapper

            token = settings.neo_vault_token
            text = None if token is None else token.get_secret_value()
            return VaultWrapper(
                settings.neo_vault_key,
                url=_needed(settings.neo_vault_url, "NEO_VAULT_URL"),
                token=_needed(text, "NEO_VAULT_TOKEN"),
                namespace=settings.neo_vault_namespace,
            )
        case _:
            return LocalWrapper(_local_key(settings))


def _local_key(settings: Settings) -> bytes:
    """From the environment, else a file; the embedded profile makes one in its data directory."""
    key = settings.sgx_encryption_key
    if key is not None and key.get_secret_value():
        return key_of_text(key.get_secret_value(), name="SGX_ENCRYPTION_KEY")
    if settings.neo_key_file is not None:
        return key_from_file(settings.neo_key_file)
    if settings.neo_profile == "embedded":
        return key_from_file(settings.neo_data_dir / KEY_FILE, create=True)
    raise ConfigError(
        "sealing needs a key: set SGX_ENCRYPTION_KEY (`openssl rand -base64 32`), NEO_KEY_FILE, or"
        " NEO_KEY_WRAPPER to kms or vault"
    )


def _needed(value: str | None, name: str) -> str:
    if not value:
        raise ConfigError(f"set {name}: NEO_KEY_WRAPPER asks for it")
    return value
