"""The command line's way to a server: HOOKLINE_URL, HOOKLINE_KEY, and answers turned into values or one line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from hookline.cli.exits import CommandError, ExitCode, usage
from hookline.cli.terminal import terminal
from hookline.version import __version__

if TYPE_CHECKING:
    import ssl

    import httpx2

URL_DEFAULT: Final = "http://127.0.0.1:8400"
KEY_FILE: Final = "hookline.key"
PAGE_ROWS_MAX: Final = 250
TIMEOUT_S: Final = 30.0


def server_url() -> str:
    """Where the server is: `--server`, HOOKLINE_URL, or this machine's usual port."""
    url = terminal.server or os.environ.get("HOOKLINE_URL", "").strip() or URL_DEFAULT
    if not url.startswith(("http://", "https://")):
        raise usage(f"the server's address must begin with http:// or https://, not {url!r}")
    return url.rstrip("/")


def server_key() -> str | None:
    """The API key: HOOKLINE_KEY, what is in HOOKLINE_KEY_FILE, or in hookline.key in the working directory."""
    key = os.environ.get("HOOKLINE_KEY", "").strip()
    if key:
        return key
    named = os.environ.get("HOOKLINE_KEY_FILE", "").strip()
    path = Path(named or KEY_FILE)
    try:
        return path.read_text(encoding="ascii").strip() or None
    except FileNotFoundError:
        if named:
            raise usage(f"there is no file {path} (HOOKLINE_KEY_FILE)") from None
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not plain text"
        raise usage(f"the key file {path} cannot be read: {reason}") from None


class Client:
    """Speaks to one server. Every refusal is a `CommandError` with one line and the exit code that fits."""

    def __init__(self, transport: httpx2.BaseTransport | None = None) -> None:
        import httpx2

        url, key = server_url(), server_key()
        headers = {"user-agent": f"hookline-cli/{__version__}", "accept": "application/json"}
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        if terminal.tenant is not None:
            headers["hookline-tenant"] = terminal.tenant
        try:
            self._http = httpx2.Client(
                base_url=url,
                headers=headers,
                timeout=TIMEOUT_S,
                trust_env=False,
                transport=transport,
                verify=trusted() if url.startswith("https://") else False,  # a context for nothing costs 20 ms
            )
        except (httpx2.InvalidURL, ValueError) as error:
            raise usage(f"{url!r} or the key cannot be used: {error}") from None
        self._url = url
        self._has_key = key is not None

    def call(
        self,
        method: str,
        path: str,
        *,
        document: object = None,
        content: bytes | None = None,
        params: Mapping[str, str | int | None] | None = None,
        headers: Mapping[str, str] | None = None,
        wait_s: float = TIMEOUT_S,
    ) -> Any:
        """The answer's JSON, or None when it has no body. `document` is sent as JSON, `content` as it is."""
        import httpx2

        given = {name: value for name, value in (params or {}).items() if value is not None}
        try:
            if document is not None:
                response = self._http.request(
                    method, path, json=document, params=given, headers=headers, timeout=wait_s
                )
            else:
                response = self._http.request(
                    method, path, content=content, params=given, headers=headers, timeout=wait_s
                )
        except httpx2.TransportError as error:
            raise self._unreachable(error) from error
        except (httpx2.InvalidURL, UnicodeEncodeError) as error:
            raise usage(f"this cannot be sent: {error}") from None
        return self._read(response)

    def content(self, path: str) -> bytes:
        """The very bytes of an answer that need not be JSON."""
        import httpx2

        try:
            response = self._http.get(path, headers={"accept": "*/*"})
        except httpx2.TransportError as error:
            raise self._unreachable(error) from error
        if not response.is_success:
            self._read(response)
        return response.content

    @contextmanager
    def stream(
        self, path: str, *, read_s: float | None, params: Mapping[str, str] | None = None
    ) -> Iterator[httpx2.Response]:
        """GET an answer that is read piece by piece; between two pieces at most `read_s` (None: for ever). What fails
        while it is read is a `CommandError`, too."""
        import httpx2

        timeout = httpx2.Timeout(TIMEOUT_S, read=read_s)
        try:
            with self._http.stream("GET", path, params=params, timeout=timeout) as response:
                if not response.is_success:
                    response.read()
                    self._read(response)
                yield response
        except httpx2.TransportError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> CommandError:
        return CommandError(
            f"cannot reach {self._url} ({_why(error)}); is `hookline serve` running, and HOOKLINE_URL right?",
            ExitCode.UNREACHABLE,
        )

    def pages(self, path: str, params: Mapping[str, str | int | None], limit: int) -> tuple[list[dict[str, Any]], Any]:
        """Up to `limit` rows of a list (0: all), over as many pages as it takes, and the cursor for the next."""
        rows: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            want = PAGE_ROWS_MAX if limit == 0 else min(PAGE_ROWS_MAX, limit - len(rows))
            page = self.call("GET", path, params={**params, "limit": want, "cursor": cursor})
            rows += page["data"]
            cursor = page.get("next")
            if cursor is None or (limit and len(rows) >= limit):
                return rows, cursor

    def show_list(
        self,
        path: str,
        params: Mapping[str, str | int | None],
        limit: int,
        columns: Sequence[str],
        empty: str,
        shown: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        """Print a list: a table (of its rows, or of what `shown` makes of each), or a document as the API gives it."""
        rows, cursor = self.pages(path, params, limit)
        if terminal.json:
            terminal.document({"data": rows, "next": cursor})
            return
        terminal.table(columns, rows if shown is None else [shown(row) for row in rows], empty)
        if cursor is not None:
            terminal.note(f"There are more; --limit 0 shows all, --limit {2 * limit} twice as many.")

    def close(self) -> None:
        """End the connection."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, response: httpx2.Response) -> Any:
        try:
            answer = response.json() if response.content else None
        except ValueError:
            answer = None
            if response.is_success:
                raise CommandError(
                    f"{self._url} answered with something that is not JSON: is this Hookline?", ExitCode.REFUSED
                ) from None
        if response.is_success:
            return answer
        problem = answer if isinstance(answer, dict) else {}
        raise CommandError(self._line(response.status_code, problem), _exit_code(response.status_code), problem)

    def _line(self, status: int, problem: Mapping[str, object]) -> str:
        """A problem document in one line: what is wrong, where, and its code."""
        line = str(problem.get("detail") or problem.get("title") or f"the server answered {status}")
        if "pointer" in problem:
            line += f" (at {problem['pointer'] or '/'})"
        violations = problem.get("violations")
        if isinstance(violations, list):
            line += "".join(f"; {_violation(item)}" for item in violations[:5] if isinstance(item, dict))
        if "code" in problem:
            line = f"{problem['code']}: {line}"
        if status == 401:
            line += (
                "; the key in HOOKLINE_KEY (or hookline.key) is not this server's"
                if self._has_key
                else "; set HOOKLINE_KEY, or run this where the server's hookline.key is"
            )
        return line


def trusted() -> ssl.SSLContext:
    """What is trusted of servers: the system's certificates, and those in HOOKLINE_CA_FILE."""
    import httpx2

    context = httpx2.create_ssl_context()
    named = os.environ.get("HOOKLINE_CA_FILE", "").strip()
    if named:
        try:
            context.load_verify_locations(named)
        except OSError as error:
            raise usage(f"HOOKLINE_CA_FILE {named} cannot be used: {error.strerror or error}") from None
    return context


def _violation(item: Mapping[str, object]) -> str:
    return f"{item.get('pointer') or '/'}: expected {item.get('expected')}, found {item.get('found')}"


def _exit_code(status: int) -> ExitCode:
    if status in (401, 403):
        return ExitCode.UNAUTHORIZED
    return ExitCode.UNAVAILABLE if status == 429 or status >= 500 else ExitCode.REFUSED


def _why(error: Exception) -> str:
    import httpx2

    if isinstance(error, httpx2.TimeoutException):
        return f"no answer within {TIMEOUT_S:g} s"
    return str(error) or type(error).__name__
