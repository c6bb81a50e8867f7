"""Refusals in the layout of OpenAI's API: {"error": {"message", "type", "param", "code"}}."""

from typing import Any

from mooer.common.errors import AudioError

_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
RETRY_SECONDS = 1


class ApiError(Exception):
    """A request that is refused, or that failed.

    Args:
        param: the field at fault.
        code: one or two words for programs.
    """

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    @property
    def body(self) -> dict[str, Any]:
        """What the client gets."""
        return error_body(self.status, self.message, self.param, self.code)

    @property
    def headers(self) -> dict[str, str]:
        """What the status asks for."""
        if self.status == 401:
            return {"WWW-Authenticate": "Bearer"}
        return {"Retry-After": str(RETRY_SECONDS)} if self.status in (429, 503) else {}


def error_body(status: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The layout."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def invalid(message: str, param: str | None, code: str = "invalid_value") -> ApiError:
    """A field that cannot be followed."""
    return ApiError(400, message, param=param, code=code)


def of_audio(error: AudioError) -> ApiError:
    """A recording that cannot be used."""
    return audio_refusal(error.reason, str(error))


def audio_refusal(reason: str, message: str) -> ApiError:
    """The same, by reason and message."""
    return ApiError(400, message, param="file", code=f"audio_{reason}")
