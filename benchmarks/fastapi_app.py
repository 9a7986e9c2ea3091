"""The same API on FastAPI, SQLModel and asyncpg, on the table that `manage.py migrate` creates.

It is written as FastAPI's documentation recommends. Only the order of errors differs from this project's: FastAPI
parses a body before it checks the token.
"""

import logging
import os
import re
import secrets
import time
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, Literal

import jwt
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, PlainSerializer, StrictBool, StringConstraints
from sqlalchemy import BigInteger, DateTime, Text, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import Field, SQLModel, col, delete, not_, select, update
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.convertors import Convertor, register_url_convertor
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECRET = os.environ["BETTER_AUTH_SECRET"]
CLAIMS: Any = {
    "require": ["exp", "sub"],
    **dict.fromkeys(["verify_nbf", "verify_iat", "verify_iss", "verify_aud"], False),
}
NBF_LEEWAY = 10
MAX_BODY_SIZE = 64 * 1024
MAX_BIGINT = 2**63 - 1
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

logger = logging.getLogger(__name__)

# The database, with as many connections as this project has by default: 15 of its 16 threads may wait for it.

engine = create_async_engine(
    make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+asyncpg"), pool_size=15, max_overflow=0
)


async def get_session() -> AsyncIterator[AsyncSession]:
    async with AsyncSession(engine, expire_on_commit=False) as session:
        yield session


# Models

# The length counts the white space around a title, so it is removed after the check.
Title = Annotated[
    str,
    StringConstraints(strict=True, max_length=200, pattern=r"^[^\x00]*$"),
    AfterValidator(str.strip),
    StringConstraints(min_length=1),
]
Description = Annotated[str, StringConstraints(strict=True, max_length=1000, pattern=r"^[^\x00]*$")]
# Always six digits, because pydantic omits a fraction of zero.
Time = Annotated[
    datetime,
    PlainSerializer(lambda time: time.isoformat(timespec="microseconds")[:-6] + "Z", return_type=str, when_used="json"),
]


class Task(SQLModel, table=True):
    """The table, which is the response model, too. For a separate response model, pydantic would copy each task."""

    __tablename__ = "tasks_task"

    id: int | None = Field(default=None, primary_key=True, sa_type=BigInteger)
    user_id: str = Field(sa_type=Text)
    title: str = Field(sa_type=Text)
    description: str | None = Field(default=None, sa_type=Text)
    completed: bool = False
    created_at: Time = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    updated_at: Time = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    idempotency_key: str | None = Field(default=None, sa_type=Text, exclude=True)


class TaskCreate(SQLModel):
    title: Title
    description: Description | None = None
    completed: StrictBool = False


class TaskUpdate(SQLModel):
    """A partial update. The defaults are never used: they only make a field optional without allowing null."""

    title: Title = ""
    description: Description | None = None
    completed: StrictBool = False


class TaskToggle(SQLModel):
    completed: StrictBool = False


# Authentication, and checks of the body


def refuse(detail: str, header: str = 'Bearer error="invalid_token"') -> HTTPException:
    return HTTPException(401, detail, {"WWW-Authenticate": header})


def is_user_id(value: Any) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= 255
        and bool(value.strip())
        and not any(unicodedata.category(character) in ("Cc", "Cs") for character in value)
    )


async def get_user(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise refuse("Authentication credentials were not provided.", "Bearer")
    try:
        claims = jwt.decode(token, SECRET, algorithms=["HS256"], options=CLAIMS)
    except jwt.ExpiredSignatureError:
        raise refuse("Token has expired.") from None
    except jwt.InvalidTokenError:
        raise refuse("Token is invalid.") from None
    user = claims["sub"]
    if not is_user_id(user) or claims.get("nbf", 0) > time.time() + NBF_LEEWAY:
        raise refuse("Token is invalid.")
    request.state.user = user
    path_user = request.path_params.get("user_id", user)
    if path_user != user:
        raise HTTPException(403, f"The user in the path is '{path_user}', not the token's.")
    return user


async def check_body(request: Request) -> None:
    headers = request.headers
    if "transfer-encoding" in headers:
        raise HTTPException(411, "Send a Content-Length with the body.")
    if headers.get("content-length", "0") != "0" and not headers.get("content-type", "").startswith("application/json"):
        raise HTTPException(415, f'Unsupported media type "{headers.get("content-type", "")}" in request.')


Session = Annotated[AsyncSession, Depends(get_session)]
User = Annotated[str, Depends(get_user)]
IdempotencyKey = Annotated[str | None, Header(pattern=r"^[!-~]{1,255}$")]

# The operations, with one statement each


class TaskId(Convertor[int]):
    regex = "[1-9][0-9]{0,18}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("task_id", TaskId())
router = APIRouter(prefix="/tasks")
sends_body = [Depends(get_user), Depends(check_body)]


async def changed(session: AsyncSession, statement: Any) -> Any:
    task = await session.scalar(statement.returning(Task), execution_options={"synchronize_session": False})
    await session.commit()
    if task is None:
        raise HTTPException(404)
    return task


@router.get("", response_model=list[Task])
async def list_tasks(user: User, session: Session, status: Literal["all", "pending", "completed"] = "all") -> Any:
    statement = select(Task).where(Task.user_id == user).order_by(col(Task.created_at).desc(), col(Task.id).desc())
    if status != "all":
        statement = statement.where(Task.completed == (status == "completed"))
    return (await session.exec(statement)).all()


@router.post("", response_model=Task, status_code=201, dependencies=sends_body)
async def create_task(
    body: TaskCreate, user: User, session: Session, response: Response, idempotency_key: IdempotencyKey = None
) -> Any:
    statement = insert(Task).values(**body.model_dump(), user_id=user, idempotency_key=idempotency_key)
    task = await changed(
        session,
        statement.on_conflict_do_update(
            index_elements=["user_id", "idempotency_key"],
            set_={"idempotency_key": statement.excluded.idempotency_key},
        ),
    )
    response.headers["Location"] = f"/api/tasks/{task.id}"
    return task


@router.get("/{pk:task_id}", response_model=Task)
async def get_task(pk: int, user: User, session: Session) -> Any:
    if pk > MAX_BIGINT:
        raise HTTPException(404)
    task = (await session.exec(select(Task).where(Task.id == pk, Task.user_id == user))).one_or_none()
    if task is None:
        raise HTTPException(404)
    return task


@router.put("/{pk:task_id}", response_model=Task, dependencies=sends_body)
@router.patch("/{pk:task_id}", response_model=Task, dependencies=sends_body)
async def update_task(pk: int, body: TaskUpdate, user: User, session: Session) -> Any:
    values = body.model_dump(exclude_unset=True)
    if not values:
        return await get_task(pk, user, session)
    return await change(pk, user, session, values)


@router.patch("/{pk:task_id}/complete", response_model=Task, dependencies=sends_body)
async def toggle_task(pk: int, user: User, session: Session, body: TaskToggle | None = None) -> Any:
    values = body.model_dump(exclude_unset=True) if body else {}
    return await change(pk, user, session, values or {"completed": not_(Task.completed)})


async def change(pk: int, user: str, session: AsyncSession, values: dict[str, Any]) -> Any:
    if pk > MAX_BIGINT:
        raise HTTPException(404)
    statement = update(Task).where(col(Task.id) == pk, col(Task.user_id) == user)
    return await changed(session, statement.values(**values, updated_at=func.now()))


@router.delete("/{pk:task_id}", status_code=204)
async def delete_task(pk: int, user: User, session: Session) -> Response:
    if pk > MAX_BIGINT:
        raise HTTPException(404)
    statement = delete(Task).where(col(Task.id) == pk, col(Task.user_id) == user)
    result = await session.exec(statement, execution_options={"synchronize_session": False})
    await session.commit()
    if not result.rowcount:
        raise HTTPException(404)
    return Response(status_code=204)


# Middleware and errors


class ConventionsMiddleware:
    """Adds the request id, the log, `Cache-Control`, paths with a trailing slash, and the limit of a body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start = time.perf_counter()
        headers = Headers(scope=scope)
        sent = headers.get("x-request-id", "")
        request_id = sent if REQUEST_ID.fullmatch(sent) else secrets.token_hex(16)
        path = scope["path"]
        scope["path"] = path.removesuffix("/") or "/"
        state = scope.setdefault("state", {})

        async def send_and_log(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                answered["X-Request-ID"] = request_id
                answered["Cache-Control"] = "no-store"
                milliseconds = (time.perf_counter() - start) * 1000
                line = (request_id, scope["method"], path, message["status"], milliseconds, state.get("user"))
                logger.info("%s: %s %s %d in %.1f ms, user %r", *line)
            await send(message)

        app = self.app
        if int(headers.get("content-length", 0)) > MAX_BODY_SIZE:
            app = JSONResponse({"detail": "The body is too large."}, 413)
        return await app(scope, receive, send_and_log)


# Django REST Framework's messages, by pydantic's types of errors
SENTENCES = {
    "missing": "This field is required.",
    "model_attributes_type": "Invalid data. Expected a dictionary, but got {kind}.",
    "string_type": "Not a valid string.",
    "too_short": "This field may not be blank.",
    "string_too_long": "Ensure this field has no more than {max_length} characters.",
    "string_pattern_mismatch": "Null characters are not allowed.",
    "bool_type": "Must be a valid boolean.",
    "literal_error": '"{input}" is not a valid choice.',
}


async def invalid(request: Request, exc: Exception) -> JSONResponse:
    """Answers 400 to a body that is not JSON, and 422 to one that is not valid."""
    assert isinstance(exc, RequestValidationError)
    errors: dict[str, list[str]] = {}
    for error in exc.errors():
        if error["type"] == "json_invalid":
            return JSONResponse({"detail": "The body is not JSON."}, 400)
        field = error["loc"][1] if len(error["loc"]) > 1 else "non_field_errors"
        is_null = error["input"] is None and error["type"] != "missing"
        sentence = "This field may not be null." if is_null else SENTENCES.get(error["type"], error["msg"])
        context = {"input": error["input"], "kind": type(error["input"]).__name__, **error.get("ctx", {})}
        errors.setdefault(str(field), []).append(sentence.format(**context))
    field, messages = next(iter(errors.items()))
    return JSONResponse({"detail": f"{field}: {messages[0]}", "errors": errors}, 422)


async def http_error(request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, StarletteHTTPException)
    detail = "Not found." if exc.status_code == 404 else exc.detail
    return JSONResponse({"detail": detail}, exc.status_code, exc.headers)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    yield
    await engine.dispose()


app = FastAPI(
    lifespan=lifespan,
    redirect_slashes=False,
    exception_handlers={RequestValidationError: invalid, StarletteHTTPException: http_error},
)


@app.get("/healthz")
async def health() -> dict[str, str]:
    return {"status": "ok"}


app.include_router(router, prefix="/api")
app.include_router(router, prefix="/api/{user_id:path}")
app.add_middleware(
    CORSMiddleware,
    allow_origins=["http://localhost:3000"],
    allow_credentials=True,
    allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
    allow_headers=["authorization", "content-type", "idempotency-key", "x-request-id"],
    expose_headers=["Location", "Retry-After", "WWW-Authenticate", "X-Request-ID"],
    max_age=86400,
)
app.add_middleware(ConventionsMiddleware)
