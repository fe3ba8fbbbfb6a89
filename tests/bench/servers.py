"""Servers for benchmarks: a static nginx that answers at once, and the mock provider with a latency."""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ANSWER = (
    '{"id":"chatcmpl-1","object":"chat.completion","created":1790000000,"model":"m-1","choices":[{"index":0,'
    '"message":{"role":"assistant","content":"Paris is the capital of France, and has been for a long time now."},'
    '"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":15,"total_tokens":27}}'
)

CONFIG = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600; default_type application/json;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port} backlog=8192; location / {{ return 200 '{answer}'; }} }}
}}
"""


@contextmanager
def nginx() -> Iterator[str]:
    """Run a static nginx; yield its base URL. Exits with a message when nginx is not installed."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        sys.exit("make bench needs nginx: apt-get install nginx-light")
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "nginx.conf")
        config.write_text(CONFIG.format(folder=folder, port=port, answer=ANSWER))
        with subprocess.Popen([program, "-c", str(config), "-e", f"{folder}/error.log"]) as process:
            try:
                _until_listening(port)
                yield f"http://127.0.0.1:{port}/v1"
            finally:
                process.terminate()


@contextmanager
def mock(*options: str) -> Iterator[str]:
    """Run `llmbatch mock` with options; yield its base URL."""
    command = [sys.executable, "-m", "llmbatch", "mock", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until_listening(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit("nginx did not start")
