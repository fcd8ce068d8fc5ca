"""What browser SDKs ask for before they send anything: Segment's settings, PostHog's configuration and flags."""

from __future__ import annotations

from typing import Any

import msgspec

FLAGS = {"flags": {}, "featureFlags": {}, "featureFlagPayloads": {}, "errorsWhileComputingFlags": False}
"""No feature flags here; without an answer the SDK retries and fills the console with errors."""


def segment_settings(key: str, protocol: str, host: str) -> dict[str, Any]:
    """Sends everything to this server, and nothing anywhere else."""
    return {
        "integrations": {
            "Segment.io": {
                "apiKey": key,
                "apiHost": f"{host}/v1",
                "protocol": protocol,
                "addBundledMetadata": True,
                "unbundledIntegrations": [],
                "bundledConfigIds": [],
            }
        },
        "plan": {
            "track": {"__default": {"enabled": True, "integrations": {}}},
            "identify": {"__default": {"enabled": True}},
            "group": {"__default": {"enabled": True}},
        },
        "edgeFunction": {},
        "analyticsNextEnabled": True,
        "middlewareSettings": {},
        "enabledMiddleware": {},
        "metrics": {"sampleRate": 0},
        "legacyVideoPluginsEnabled": False,
        "remotePlugins": [],
    }


def posthog_config(key: str) -> dict[str, Any]:
    """Events only: no recording, surveys, heatmaps, autocapture or toolbar."""
    return {
        "token": key,
        "supportedCompression": ["gzip", "gzip-js", "base64"],
        "hasFeatureFlags": False,
        "autocapture_opt_out": True,
        "captureDeadClicks": False,
        "capturePerformance": False,
        "autocaptureExceptions": False,
        "errorTracking": {"autocaptureExceptions": False, "suppressionRules": []},
        "analytics": {"endpoint": "/i/v0/e/"},
        "elementsChainAsString": True,
        "sessionRecording": False,
        "heatmaps": False,
        "surveys": False,
        "productTours": False,
        "defaultIdentifiedOnly": True,
        "isAuthenticated": False,
        "toolbarParams": {},
        "siteApps": [],
        "siteAppsJS": [],
    }


def posthog_script(key: str) -> bytes:
    """The same configuration as the script that the SDK tries first."""
    # JSON is JavaScript but for two line separators, and must not close a script element.
    config = msgspec.json.encode(posthog_config(key)).replace(b"<", b"\\u003c")
    token = msgspec.json.encode(key).replace(b"<", b"\\u003c")
    return (
        b"(function(){var c=window._POSTHOG_REMOTE_CONFIG=window._POSTHOG_REMOTE_CONFIG||{};c["
        + token + b"]={config:" + config + b",siteApps:[]}})();"
    )  # fmt: skip
