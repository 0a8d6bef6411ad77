//! Convex's HTTP API: what a request must look like, and how each ending is answered.
//!
//! Status codes, error codes and bodies are those of the open-source backend. All six functions are
//! internal, so a call without the deployment's key finds no function. Knows nothing of what the
//! functions do.

use std::borrow::Cow;
use std::sync::PoisonError;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Shared;
use super::answers::{HttpError, error_response, refusal, respond, text};
use super::calls::{Ended, run};
use super::functions::{Function, FunctionError, Kind};
use super::value::Encoding;

/// Bytes of a request body (Convex: 16 MiB and 2,000 bytes).
const MAX_BODY: usize = 16 * 1024 * 1024 + 2000;

/// The connection is cut without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut by a fault rule")]
pub(super) struct Cut;

/// What the route says about the function.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    Query,
    Mutation,
    Action,
    /// `/api/run`: any kind.
    Run,
    /// `/api/function`: any kind, and only with the key.
    Function,
}

/// A body as sent; `path` is in the URL for `/api/run`.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    path: Option<Cow<'a, str>>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
    #[serde(borrow)]
    format: Option<Cow<'a, str>>,
}

/// Answers a request under `/api` or a health route.
pub(super) async fn answer(
    shared: &Shared,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Cut> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/version") => return Ok(text("unknown")),
        (&Method::GET, "/instance_name") => return Ok(text("simulated-convex-1")),
        _ => {}
    }
    match call(shared, request).await {
        Ok(Some(response)) => Ok(response),
        Ok(None) => Err(Cut),
        Err(error) => Ok(error_response(error)),
    }
}

/// None when the connection is to be cut.
async fn call(
    shared: &Shared,
    request: Request<Incoming>,
) -> Result<Option<Response<Full<Bytes>>>, HttpError> {
    let (head, body) = request.into_parts();
    let (route, named) = route(&head.method, head.uri.path())?;
    check_client(&head.headers)?;
    let query = head.uri.query().unwrap_or_default();
    let credential = credential(&head.headers, query)?;

    let get_args: Box<RawValue>;
    let bytes;
    let envelope = if head.method == Method::GET {
        let parameter = |name: &str| {
            let mut pairs = url::form_urlencoded::parse(query.as_bytes());
            pairs
                .find(|(other, _)| other == name)
                .map(|(_, value)| value)
        };
        let args = parameter("args").unwrap_or(Cow::Borrowed("{}"));
        get_args = serde_json::from_str(&args).map_err(|error| bad_json(&error.to_string()))?;
        Envelope {
            path: parameter("path"),
            args: Some(&get_args),
            format: parameter("format"),
        }
    } else {
        check_content_type(&head.headers)?;
        bytes = Limited::new(body, MAX_BODY)
            .collect()
            .await
            .map_err(|_| bad_json("the body is too large or broke off"))?
            .to_bytes();
        serde_json::from_slice(&bytes).map_err(|error| bad_json(&error.to_string()))?
    };
    let admin = authenticate(shared, credential, route)?;
    let path = match &named {
        Some(path) => path,
        None => envelope
            .path
            .as_deref()
            .ok_or_else(|| bad_json("missing field `path`"))?,
    };
    let args = envelope
        .args
        .ok_or_else(|| bad_json("missing field `args`"))?;
    let (module, name) = split_path(path)?;
    let encoding = match envelope.format.as_deref() {
        None | Some("json") => Some(Encoding::Json),
        Some("convex_encoded_json" | "encoded_json" | "convex_json") => Some(Encoding::Encoded),
        Some("export_json" | "convex_export_json") => Some(Encoding::Plain),
        Some(_) => None,
    };

    let asked = match visible(shared, route, path, (module, name), admin) {
        Ok(function) => named_arguments(args).map(|args| (function, args)),
        Err(error) => Err(error),
    };
    let ended = match asked {
        Ok((function, args)) => {
            run(shared, function, args, encoding.unwrap_or(Encoding::Json)).await
        }
        Err(error) => Ended::Threw(error, shared.options.redact),
    };
    if encoding.is_none() {
        // Convex looks at the format when it writes the answer: the function has run by then.
        return Err(refusal(
            StatusCode::BAD_REQUEST,
            "BadFormat",
            "Unknown format",
        ));
    }
    Ok(respond(shared, ended))
}

/// The function, where the caller may know of it and asks for its kind.
fn visible(
    shared: &Shared,
    route: Route,
    path: &str,
    (module, name): (&str, &str),
    admin: bool,
) -> Result<Function, FunctionError> {
    let missing = shared
        .missing
        .read()
        .unwrap_or_else(PoisonError::into_inner);
    let exported = !missing.iter().any(|other| other == name);
    let found =
        Function::parse(name).filter(|_| admin && exported && module == shared.options.module);
    let Some(function) = found else {
        let message = format!("Could not find public function for '{path}'.");
        return Err(FunctionError::Bare(message));
    };
    match mismatch(route, function, path) {
        Some(message) => Err(FunctionError::Bare(message)),
        None => Ok(function),
    }
}

fn route(method: &Method, path: &str) -> Result<(Route, Option<String>), HttpError> {
    let (route, named) = match path {
        "/api/query" => (Route::Query, None),
        "/api/mutation" => (Route::Mutation, None),
        "/api/action" => (Route::Action, None),
        "/api/function" => (Route::Function, None),
        _ => match path
            .strip_prefix("/api/run/")
            .and_then(|rest| rest.rsplit_once('/'))
        {
            Some((module, name)) => (Route::Run, Some(format!("{module}:{name}"))),
            None => return Err(refusal(StatusCode::NOT_FOUND, "NotFound", "No such route")),
        },
    };
    match (method, route) {
        (&Method::POST, _) | (&Method::GET, Route::Query) => Ok((route, named)),
        _ => Err(refusal(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "Use POST",
        )),
    }
}

fn check_client(headers: &HeaderMap) -> Result<(), HttpError> {
    match headers.get("convex-client") {
        Some(client) if !client.as_bytes().contains(&b'-') => Err(refusal(
            StatusCode::BAD_REQUEST,
            "InvalidClientVersion",
            "Failed to parse client version",
        )),
        _ => Ok(()),
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), HttpError> {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = value
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(bad_json(
            "Expected request with `Content-Type: application/json`",
        ))
    }
}

/// What the caller says it is.
enum Credential {
    Key(String),
    Token,
    Nothing,
}

fn credential(headers: &HeaderMap, query: &str) -> Result<Credential, HttpError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        return Ok(match pairs.find(|(name, _)| name == "adminKey") {
            Some((_, key)) => Credential::Key(key.into_owned()),
            None => Credential::Nothing,
        });
    };
    let value = value.to_str().unwrap_or_default();
    match value.split_at_checked(7) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("convex ") => {
            Ok(Credential::Key(key.trim().to_owned()))
        }
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("bearer ") => Ok(Credential::Token),
        _ => Err(refusal(
            StatusCode::BAD_REQUEST,
            "InvalidHeaderFailure",
            "Expected a longer Authorization header of a known scheme",
        )),
    }
}

/// Whether the call has the rights of the deployment's key.
fn authenticate(shared: &Shared, credential: Credential, route: Route) -> Result<bool, HttpError> {
    match credential {
        Credential::Key(key) if bare_key(&key) == bare_key(&shared.deploy_key()) => Ok(true),
        Credential::Key(_) => Err(refusal(
            StatusCode::UNAUTHORIZED,
            "BadAdminKey",
            "The provided admin key was invalid for this instance",
        )),
        Credential::Token => Err(refusal(
            StatusCode::UNAUTHORIZED,
            "Unauthenticated",
            "Could not verify OIDC token claim",
        )),
        Credential::Nothing if route == Route::Function => Err(refusal(
            StatusCode::FORBIDDEN,
            "BadDeployKey",
            "A deploy key is needed here",
        )),
        Credential::Nothing => Ok(false),
    }
}

/// The key without its `prod:` or `dev:` prefix, which the server does not look at.
fn bare_key(key: &str) -> &str {
    match (key.find(':'), key.find('|')) {
        (Some(colon), Some(bar)) if colon < bar => &key[colon + 1..],
        _ => key,
    }
}

fn split_path(path: &str) -> Result<(&str, &str), HttpError> {
    let (module, name) = path.split_once(':').unwrap_or((path, "default"));
    let module = module.strip_suffix(".js").unwrap_or(module);
    let legal = |part: &str, more: &[u8]| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || more.contains(&byte);
        !part.is_empty() && part.bytes().all(fits)
    };
    if legal(module, b"/.-") && legal(name, b"") {
        Ok((module, name))
    } else {
        Err(refusal(
            StatusCode::BAD_REQUEST,
            "BadConvexFunctionIdentifier",
            "The path is no function identifier",
        ))
    }
}

fn mismatch(route: Route, function: Function, path: &str) -> Option<String> {
    let (wanted, kind) = match route {
        Route::Query => ("Query", Some(Kind::Query)),
        Route::Mutation => ("Mutation", Some(Kind::Mutation)),
        Route::Action => ("Action", None),
        Route::Run | Route::Function => return None,
    };
    let actual = if function.kind() == Kind::Query {
        "Query"
    } else {
        "Mutation"
    };
    (kind != Some(function.kind()))
        .then(|| format!("Trying to execute {path} as {wanted}, but it is defined as {actual}."))
}

/// The one object of arguments; the older form is a list with it.
fn named_arguments(args: &RawValue) -> Result<&RawValue, FunctionError> {
    if !args.get().trim_start().starts_with('[') {
        return Ok(args);
    }
    match serde_json::from_str::<Vec<&RawValue>>(args.get()).as_deref() {
        Ok([only]) => Ok(only),
        _ => Err(FunctionError::arguments(
            "expected one object of named arguments",
        )),
    }
}

fn bad_json(message: &str) -> HttpError {
    refusal(StatusCode::BAD_REQUEST, "BadJsonBody", message)
}
