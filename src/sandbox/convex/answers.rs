//! The answers of Convex's HTTP API: bodies and status codes.
//!
//! A thrown error is a success to HTTP; what a redacted one keeps is its `errorData`. Knows nothing of
//! requests.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::Full;

use super::Shared;
use super::calls::Ended;
use super::functions::FunctionError;
use super::value::write_text;

/// A request that no function saw.
pub(super) struct HttpError {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
}

/// A request refused before any function.
pub(super) fn refusal(
    status: StatusCode,
    code: &'static str,
    message: impl Into<String>,
) -> HttpError {
    HttpError {
        status,
        code,
        message: message.into(),
    }
}

/// The answer to a call; none when the connection is to be cut.
pub(super) fn respond(shared: &Shared, ended: Ended) -> Option<Response<Full<Bytes>>> {
    Some(match ended {
        Ended::Value(value) => {
            let mut body = Vec::with_capacity(value.len() + 40);
            body.extend_from_slice(b"{\"status\":\"success\",\"value\":");
            body.extend_from_slice(&value);
            body.push(b'}');
            json(StatusCode::OK, body)
        }
        Ended::Threw(error, redacted) => {
            let status = StatusCode::from_u16(shared.options.error_status);
            json(
                status.unwrap_or(StatusCode::OK),
                thrown(shared, &error, redacted),
            )
        }
        Ended::Refused {
            status,
            code,
            message,
            retry_after,
        } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            let mut response = json(status, error_body(&code, &message));
            if let Some(seconds) = retry_after {
                response
                    .headers_mut()
                    .insert(header::RETRY_AFTER, seconds.into());
            }
            response
        }
        Ended::Garbage => json(StatusCode::OK, b"<html>\0{\"status\":".to_vec()),
        Ended::Cut { .. } => return None,
    })
}

fn thrown(shared: &Shared, error: &FunctionError, redacted: bool) -> Vec<u8> {
    let mut message = format!("[Request ID: {}] Server Error", shared.request_id());
    let mut body = b"{\"status\":\"error\",\"errorMessage\":".to_vec();
    match error {
        _ if redacted => {}
        FunctionError::Bare(text) => {
            message.push('\n');
            message.push_str(text);
        }
        FunctionError::Structured { code, .. } => {
            message.push_str(&format!("\nUncaught ConvexError: {{\"code\":\"{code}\"}}"));
        }
    }
    write_text(&mut body, &message);
    if let FunctionError::Structured { code, key } = error {
        body.extend_from_slice(b",\"errorData\":{\"code\":");
        write_text(&mut body, code);
        body.extend_from_slice(b",\"key\":");
        match key {
            Some(key) => write_text(&mut body, key),
            None => body.extend_from_slice(b"null"),
        }
        body.push(b'}');
    }
    body.push(b'}');
    body
}

/// The answer to a request that no function saw.
pub(super) fn error_response(error: HttpError) -> Response<Full<Bytes>> {
    json(error.status, error_body(error.code, &error.message))
}

fn error_body(code: &str, message: &str) -> Vec<u8> {
    let mut body = b"{\"code\":".to_vec();
    write_text(&mut body, code);
    body.extend_from_slice(b",\"message\":");
    write_text(&mut body, message);
    body.push(b'}');
    body
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// A plain text.
pub(super) fn text(body: &'static str) -> Response<Full<Bytes>> {
    Response::new(Full::new(Bytes::from_static(body.as_bytes())))
}
