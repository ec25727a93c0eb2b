"""A vault for trials: holds random keys, signs and verifies with them, and never gives one away.

``python vault_service.py TOKEN`` serves on a free port of this machine and prints its URL. It ends with its input.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEYS: dict[str, bytes] = {}
ADMITTED = f"Bearer {sys.argv[1]}" if len(sys.argv) == 2 else sys.exit(__doc__)
LARGEST = 4 * 1024 * 1024


class Handler(BaseHTTPRequestHandler):
    """``POST /keys/NAME/sign`` and ``POST /keys/NAME/verify``; bytes travel in base64."""

    def do_POST(self) -> None:
        match self.path.strip("/").split("/"):
            case ["keys", name, ("sign" | "verify") as verb] if self.admitted():
                self.answer(name, verb)
            case _:
                self.reply(403 if not self.admitted() else 404, {})

    def admitted(self) -> bool:
        return hmac.compare_digest(self.headers.get("Authorization", "").encode(), ADMITTED.encode())

    def answer(self, name: str, verb: str) -> None:
        try:
            length = min(int(self.headers["Content-Length"]), LARGEST)
            fields = {key: base64.b64decode(value) for key, value in json.loads(self.rfile.read(length)).items()}
            right = hmac.digest(KEYS.setdefault(name, secrets.token_bytes(32)), fields["input"], "sha256")
            valid = verb == "verify" and hmac.compare_digest(right, fields["signature"])
        except (TypeError, ValueError, KeyError, AttributeError):
            return self.reply(400, {})
        return self.reply(
            200, {"valid": valid} if verb == "verify" else {"signature": base64.b64encode(right).decode()}
        )

    def reply(self, status: int, body: dict[str, object]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Silence."""


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # connections that wait to be accepted; the default of 5 turns a burst away


def main() -> None:
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    main()
