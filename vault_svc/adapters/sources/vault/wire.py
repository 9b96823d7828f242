"""The way to the server: hvac's requests over a session that nothing else can steer.

The environment's tokens, proxies, authorities and .netrc have no effect (decision 18), no
redirect is followed (the token would go along), answers are bounded in bytes and time, and what
goes wrong is raised without the answer's text: hvac's own exceptions carry it.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import AbstractContextManager
from json import dumps, loads
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlencode

import requests
from hvac.adapters import Adapter
from urllib3.exceptions import ReadTimeoutError

from vault_svc.adapters.sources.vault.bounded import OwnTrust
from vault_svc.adapters.sources.vault.exchange import Answer
from vault_svc.adapters.sources.vault.options import Options
from vault_svc.adapters.sources.vault.reading import BrokenOff
from vault_svc.adapters.sources.vault.refusal import Refusal
from vault_svc.errors import ColibriError

if TYPE_CHECKING:
    from requests.structures import CaseInsensitiveDict

_CHUNK: Final = 1 << 16
_LEAST_ERROR: Final = 300
_NO_CONTENT: Final = 204
_MOST_WAIT: Final = 3600.0
_LONGEST_TOKEN: Final = 8192
_BROKEN: Final = (
    BrokenOff,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)
_SLOW: Final = (TimeoutError, requests.exceptions.Timeout)
_DOWN: Final = "see the runbook vault-sealed.md"


def session(context: ssl.SSLContext, options: Options) -> requests.Session:
    """Return a session of our own: one TLS context, one pool, nothing of the environment."""
    made = requests.Session()
    made.trust_env = False
    made.headers = {  # type: ignore[assignment]
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "colibri",
    }
    made.proxies = {"http": options.proxy, "https": options.proxy} if options.proxy else {}
    adapter = OwnTrust(context, options.concurrency)
    made.mount("https://", adapter)
    made.mount("http://", adapter)
    return made


class Wire(Adapter):  # type: ignore[misc]
    """hvac's adapter: every answer is a dictionary, every refusal a `Refusal` without its body.

    Raises `source_unreachable`, `source_incomplete` and `server_mismatch` (TLS) by itself.
    """

    def __init__(
        self,
        session: requests.Session,
        options: Options,
        server: str,
        *,
        token: str = "",
        namespace: str = "",
    ) -> None:
        """Take the shared session and one token; "" sends none."""
        super().__init__(base_uri=server, token=token, session=session, namespace=namespace)
        self._options = options

    def with_token(self, token: str) -> Wire:
        """Return a wire of the same session for another token."""
        return Wire(
            self.session, self._options, self.base_uri, token=token, namespace=self.namespace
        )

    def outside_namespaces(self) -> Wire:
        """Return a wire for what only the whole server can be asked."""
        return Wire(self.session, self._options, self.base_uri, token=self.token)

    def get_login_token(self, response: dict[str, Any]) -> str:
        """Return the token of a login's answer; raise `source_incomplete`."""
        token = part(response, "auth").get("client_token")
        if not is_token(token):
            raise incomplete("a login's answer has no token in it")
        return str(token)

    def request(
        self,
        method: str,
        url: str,
        headers: dict[str, str] | None = None,
        raise_exception: bool = True,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Return the answer's document, {} for one without content."""
        del raise_exception
        wait = kwargs.pop("wrap_ttl", None)
        sent = dict(headers or {}) | {"X-Vault-Request": "true"}
        sent |= {"X-Vault-Token": self.token} if self.token else {}
        sent |= {"X-Vault-Namespace": self.namespace} if self.namespace else {}
        sent |= {"X-Vault-Wrap-TTL": str(wait)} if wait else {}
        whole = self.urljoin(self.base_uri, url)
        prepared = _prepared(method, whole, {**self.session.headers, **sent}, **kwargs)
        status, retry_after, body = self._ask(prepared)
        if status >= _LEAST_ERROR:
            raise Refusal(status, body, retry_after=retry_after)
        return _document(status, body)

    def _ask(self, prepared: requests.PreparedRequest) -> tuple[int, float, bytes]:
        try:
            with self._sent(prepared) as answer:
                retry_after = _seconds(answer.headers.get("retry-after", ""))
                return answer.status_code, retry_after, self._body(answer)
        except _BROKEN:
            raise incomplete("the server's answer broke off") from None
        except (ssl.SSLError, requests.exceptions.SSLError) as error:
            raise _no_tls(error) from None
        except (requests.exceptions.RequestException, OSError) as error:
            slow = isinstance(error, _SLOW) or _timed_out(error)
            why = "did not answer in time" if slow else "does not answer"
            raise ColibriError("source_unreachable", f"the server {why}", hint=_DOWN) from None

    def _sent(
        self, prepared: requests.PreparedRequest
    ) -> AbstractContextManager[Answer | requests.Response]:
        """Send by the transport alone: redirects, cookies and the like are a session's."""
        transport: OwnTrust = self.session.get_adapter(str(prepared.url))
        timeout, proxies = self._options.timeout_seconds, self.session.proxies
        if proxies:
            return transport.send(prepared, stream=True, timeout=timeout, proxies=proxies)
        return transport.exchange(prepared, timeout)

    def _body(self, answer: Answer | requests.Response) -> bytes:
        parts: list[bytes] = []
        size = 0
        if answer.headers.get("content-encoding", "identity") != "identity":
            # It would be unpacked before it could be measured, and was not asked for.
            raise incomplete("the server's answer is packed")
        for each in answer.iter_content(_CHUNK):
            size += len(each)
            if size > self._options.max_answer_bytes:
                raise incomplete(
                    f"an answer is larger than {self._options.max_answer_bytes} bytes",
                    hint="if that is meant, raise the setting vault_max_answer_bytes",
                )
            parts.append(each)
        return b"".join(parts)


def _prepared(
    method: str,
    url: str,
    headers: Mapping[str, str | bytes],
    *,
    json: Any = None,
    params: Mapping[str, Any] | None = None,
) -> requests.PreparedRequest:
    """Return a request as it is sent; addresses and headers were checked where they came from."""
    made = requests.PreparedRequest()
    made.method = method.upper()
    made.url = f"{url}?{urlencode(params)}" if params else url
    sent = dict(headers)
    if json is not None:
        made.body = dumps(json).encode()
        sent |= {"Content-Type": "application/json", "Content-Length": str(len(made.body))}
    # Its own kind of dictionary compares without case, which takes as long as all the rest.
    made.headers = cast("CaseInsensitiveDict[str | bytes]", sent)
    return made


def _timed_out(error: Exception) -> bool:
    """Say whether it is requests' wrapping of a body that came too slowly."""
    return bool(error.args) and isinstance(error.args[0], ReadTimeoutError)


def is_token(found: object) -> bool:
    """Say whether it can stand in a request's header, as every token there is can."""
    fits = isinstance(found, str) and 0 < len(found) <= _LONGEST_TOKEN
    return fits and str(found).isascii() and str(found).isprintable()


def part(answer: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an object in an answer, {} where there is none."""
    found = answer.get(name)
    return found if isinstance(found, dict) else {}


def _no_tls(error: Exception) -> ColibriError:
    """Return whose fault it is that there is no TLS: an alert may come after all was sent."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return ColibriError(
            "server_mismatch",
            "the server's certificate is not trusted, or for another name",
            hint="check --server and --ca-file of the login; nothing was sent",
        )
    return ColibriError(
        "server_mismatch",
        "the server speaks no TLS there, or refuses ours",
        hint="check --server, and --cert-file and --key-file of a login by certificate",
    )


def incomplete(message: str, *, hint: str = "") -> ColibriError:
    """Return the error for an answer that is not whole."""
    return ColibriError("source_incomplete", message, hint=hint)


def _document(status: int, body: bytes) -> dict[str, Any]:
    if status == _NO_CONTENT or not body:
        return {}
    try:
        found = loads(body, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise incomplete("the server's answer is no document")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse what is said twice: nobody knows which of the two is meant."""
    whole = dict(pairs)
    if len(whole) != len(pairs):
        raise ValueError
    return whole


def _seconds(text: str) -> float:
    return min(float(text), _MOST_WAIT) if text.isascii() and text.isdigit() else 0.0
