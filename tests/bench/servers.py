"""The server: nginx with a fixed answer, at once or after a while. It must never be what is measured.

The delay is echo_sleep of Debian's libnginx-mod-http-echo, a timer inside nginx; what nginx uses of a core is shown.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ECHO = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")

ANSWER = (
    '{{"id":"chatcmpl-1","object":"chat.completion","created":1790000000,"model":"m-1","choices":[{{"index":0,'
    '"message":{{"role":"assistant","content":"{text}"}},'
    '"finish_reason":"stop"}}],"usage":{{"prompt_tokens":12,"completion_tokens":15,"total_tokens":27}}}}'
)
TEXT = "Paris is the capital of France, and has been for a long time now, as many people in Europe know."
"""100 bytes, less or more."""

CONFIG = """
load_module {echo};
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
worker_rlimit_nofile 20000;
events {{ worker_connections 10000; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600; default_type application/json;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=8192;
    location / {{ return 200 '{answer}'; }}
    location ~ ^/after/([0-9.]+)/ {{ echo_read_request_body; echo_sleep $1; echo_exec @answer; }}
    location @answer {{ return 200 '{answer}'; }}
  }}
}}
"""


class Server(NamedTuple):
    """A running nginx."""

    port: int
    pid: int

    def url(self, after: float = 0.0) -> str:
        """Return the base URL under which it answers after so many seconds."""
        return f"http://127.0.0.1:{self.port}{f'/after/{after}' if after else ''}/v1"

    def cpu(self) -> float:
        """Return the CPU seconds it has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def nginx() -> Iterator[Server]:
    """Run it; exits with a message when it is not installed."""
    program, port = _program(), _free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "nginx.conf")
        config.write_text(CONFIG.format(echo=ECHO, folder=folder, port=port, answer=ANSWER.format(text=TEXT)))
        with subprocess.Popen([program, "-c", str(config), "-e", f"{folder}/error.log"]) as process:
            try:
                _until_listening(port)
                yield Server(port, process.pid)
            finally:
                process.terminate()


@contextmanager
def mock(*flags: str) -> Iterator[str]:
    """Run the mock provider; yield its base URL."""
    command = [sys.executable, "-m", "llmbatch", "mock", "--port", "0", *flags]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def version() -> str:
    """Return the version of nginx."""
    said = subprocess.run([_program(), "-v"], capture_output=True, text=True, check=True).stderr
    return said.partition("/")[2].split()[0]


def _program() -> str:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None or not ECHO.exists():
        sys.exit("the benchmarks need nginx: apt-get install nginx-light libnginx-mod-http-echo")
    return program


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
