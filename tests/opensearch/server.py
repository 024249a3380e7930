"""An Elasticsearch for the tests: the one that NEO_TEST_ELASTICSEARCH_URL names, or an OpenSearch.

The OpenSearch is a node of its own libraries, which Maven fetches once into `build/`, in the
version that is pinned beside this file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from pydantic import SecretStr

from neo_polystore.stores.elasticsearch.config import ElasticsearchConfig
from tests.mongod import NoServerError

FOLDER = Path(__file__).parent
URL = "NEO_TEST_ELASTICSEARCH_URL"
FETCH_SECONDS = 600
_BUILD = Path(__file__).parents[2] / "build"


def config_for(url: str) -> ElasticsearchConfig:
    """Indexes of one's own on the server."""
    return ElasticsearchConfig(url=SecretStr(url), prefix=f"test-{uuid4().hex[:8]}")


@contextmanager
def elasticsearch_url() -> Iterator[str]:
    """The address of a server, which stops at the end; raises NoServerError where there is none."""
    if url := os.environ.get(URL):
        yield url
        return
    libraries = _libraries()
    home = tempfile.mkdtemp(prefix="neo-polystore-opensearch-")
    log = Path(home) / "stderr"
    with log.open("wb") as errors:
        server = subprocess.Popen(
            [
                *("java", "-Xms256m", "-Xmx512m", "-cp", f"{libraries}/*"),
                *(str(FOLDER / "OpenSearchNode.java"), home),
            ],
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        word, _, url = server.stdout.readline().strip().partition(" ")
        if word != "ready":
            server.wait(30)
            said = log.read_text(errors="replace").strip().splitlines()
            raise NoServerError(f"OpenSearch did not start: {(said or ['it said nothing'])[0]}")
        yield url
    finally:
        server.stdin.close()
        server.wait(60)
        server.stdout.close()
        shutil.rmtree(home, ignore_errors=True)


def _libraries() -> Path:
    """The folder of the node's libraries; the first time this takes a minute, and the network."""
    digest = hashlib.sha256((FOLDER / "pom.xml").read_bytes()).hexdigest()[:12]
    folder = _BUILD / f"opensearch-{digest}"
    if folder.exists():
        return folder
    for name in ("java", "javac", "mvn"):
        if shutil.which(name) is None:
            raise NoServerError(f"no Elasticsearch: {URL} names none, and there is no {name}")
    fresh = folder.with_suffix(f".{os.getpid()}")
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={fresh}"]
    try:
        done = subprocess.run(
            [shutil.which("mvn") or "mvn", "-q", "-B", "-f", str(FOLDER / "pom.xml"), *goal],
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NoServerError(f"fetching OpenSearch took over {FETCH_SECONDS} s") from None
    if done.returncode or not fresh.exists():
        said = [line for line in done.stdout.splitlines() if "ERROR" in line] or ["?"]
        raise NoServerError(f"OpenSearch cannot be fetched: {said[0][:200]}")
    fresh.rename(folder)  # whole or not at all, whoever else is fetching
    return folder
