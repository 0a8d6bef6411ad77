//! The table of everything that Convex has been seen to answer, and what it means.
//!
//! The bodies are written from the service's documentation and source, not by this crate's own types.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// The ending of a reply in one word, with its code.
fn ending(status: u16, body: &str) -> String {
    match read(status, None, body.as_bytes()) {
        Ok(value) => format!("success {}", value.get()),
        Err(failure) => {
            let kind = match &failure {
                Failure::RecordRefused { key, .. } => match key {
                    Some(key) => format!("record {key}"),
                    None => "record -".into(),
                },
                Failure::CursorInvalid => "cursor".into(),
                Failure::Unstructured { .. } => "unstructured".into(),
                Failure::Service { .. } => "service".into(),
                Failure::Refused { .. } => "refused".into(),
            };
            format!("{kind} {}", failure.code())
        }
    }
}

fn thrown(message: &str) -> String {
    let message = format!("[Request ID: 1f] Server Error\n{message}");
    json!({"status": "error", "errorMessage": message, "logLines": []}).to_string()
}

#[test]
fn the_value_of_a_success_is_handed_on_as_it_came() {
    for status in [200, 560] {
        let body = r#"{"status":"success","value":{"outcomes": [1.0]},"logLines":["x"]}"#;
        assert_eq!(ending(status, body), r#"success {"outcomes": [1.0]}"#);
        assert_eq!(
            ending(status, r#"{"status":"success","value":null}"#),
            "service garbage"
        );
    }
}

#[test]
fn production_takes_the_words_out_of_every_message() {
    let hint = |body: &str| match read(200, None, body.as_bytes()) {
        Err(Failure::Unstructured { hint, .. }) => hint,
        other => panic!("{other:?}"),
    };
    for (message, expected) in [
        ("[Request ID: 1f] Server Error", Hint::Wordless),
        (
            "[Request ID: 1f] Server Error\nUncaught Error: rows[1]",
            Hint::Unknown,
        ),
        ("Server Error", Hint::Wordless),
        ("boom", Hint::Unknown),
    ] {
        let body = json!({"status": "error", "errorMessage": message}).to_string();
        assert_eq!(hint(&body), expected, "{message}");
    }
}

#[test]
fn a_function_that_threw() {
    let redacted = r#"{"status":"error","errorMessage":"[Request ID: 1f] Server Error"}"#;
    for (body, expected) in [
        (redacted.to_owned(), "unstructured function_failed"),
        (
            thrown("Uncaught Error: boom\n    at handler"),
            "unstructured function_failed",
        ),
        (
            r#"{"status":"error"}"#.into(),
            "unstructured function_failed",
        ),
        (
            thrown(
                "Could not find public function for 'clerkSync:apply'. Did you forget to run `npx convex dev`?",
            ),
            "refused function_missing",
        ),
        (
            thrown("Trying to execute clerkSync:apply as Query, but it is defined as Mutation."),
            "refused wrong_kind",
        ),
        (
            thrown("ArgumentValidationError: Object contains extra field `revive`"),
            "unstructured bad_arguments",
        ),
        (
            thrown("Uncaught ArgumentValidationError: Object is missing the required field"),
            "unstructured bad_arguments",
        ),
        (
            thrown("Invalid arguments for clerkSync:apply: field name $x starts with '$'"),
            "unstructured bad_arguments",
        ),
        (
            thrown("Arguments for clerkSync:apply are too large (actual: 17 MiB, limit: 16 MiB)"),
            "unstructured too_much",
        ),
        (
            thrown("Uncaught Error: Too many reads in a single function execution (limit: 4096)"),
            "unstructured too_much",
        ),
        (thrown("TooManyWrites: x"), "unstructured too_much"),
        (
            thrown(
                "You do not have permission to perform this operation (deployment:functions:runInternalMutations)",
            ),
            "refused not_permitted",
        ),
        (
            thrown(
                "Cannot run functions while this deployment is paused. Resume it in the dashboard.",
            ),
            "service paused",
        ),
        (
            thrown(
                "You have exceeded the free plan limits, so your deployments have been disabled.",
            ),
            "service over_plan",
        ),
    ] {
        assert_eq!(ending(200, &body), expected, "{body}");
        assert_eq!(ending(560, &body), expected, "{body}");
    }
}

#[test]
fn a_structured_error_names_its_record_and_nothing_else_survives() {
    let with = |data: serde_json::Value| {
        json!({"status": "error", "errorMessage": "[Request ID: 1f] Server Error\nUncaught ConvexError: ada@example.com",
               "errorData": data})
        .to_string()
    };
    for (data, expected) in [
        (
            json!({"code": "too_large", "key": "user_1"}),
            "record user_1 too_large",
        ),
        (
            json!({"code": "too_large", "key": "user_1", "email": "ada@example.com"}),
            "record user_1 too_large",
        ),
        (
            json!({"code": "too_many_changes"}),
            "record - too_many_changes",
        ),
        (
            json!({"code": "bad\n\u{1b}[0m <ada@example.com>", "key": "ada@example.com"}),
            "record - bad0madaexample.com",
        ),
        (
            json!({"code": "", "key": "user_1"}),
            "record user_1 unnamed",
        ),
        (
            json!({"isConvexSystemError": true, "paginationError": "InvalidCursor"}),
            "cursor invalid_cursor",
        ),
        (
            json!({"code": 7, "key": "user_1"}),
            "unstructured function_failed",
        ),
        (json!("user_1"), "unstructured function_failed"),
        (json!(null), "unstructured function_failed"),
    ] {
        assert_eq!(ending(200, &with(data.clone())), expected, "{data}");
    }
    let body = with(json!({"code": "too_large", "key": "user_1", "email": "ada@example.com"}));
    let failure = read(200, None, body.as_bytes()).unwrap_err();
    assert!(!format!("{failure} {failure:?}").contains("ada@"));
}

#[test]
fn a_status_without_a_function_s_reply() {
    let system = |code: &str| json!({"code": code, "message": "said for people"}).to_string();
    for (status, body, expected) in [
        (400, system("BadJsonBody"), "unstructured too_much"),
        (413, String::new(), "unstructured too_much"),
        (
            400,
            system("BadConvexFunctionIdentifier"),
            "refused BadConvexFunctionIdentifier",
        ),
        (400, system("BadFormat"), "refused BadFormat"),
        (
            400,
            system("InvalidHeaderFailure"),
            "refused InvalidHeaderFailure",
        ),
        (
            400,
            system("InvalidClientVersion"),
            "refused InvalidClientVersion",
        ),
        (401, system("BadAdminKey"), "refused BadAdminKey"),
        (403, system("BadDeployKey"), "refused BadDeployKey"),
        (401, system("Unauthenticated"), "refused Unauthenticated"),
        (403, "<html>forbidden</html>".into(), "refused http_403"),
        (404, "<html>nothing here</html>".into(), "refused http_404"),
        (
            404,
            system("FunctionPathNotFound"),
            "refused FunctionPathNotFound",
        ),
        (405, String::new(), "refused http_405"),
        (
            429,
            system("TooManyConcurrentRequests"),
            "service TooManyConcurrentRequests",
        ),
        (429, system("TooManyWrites"), "service TooManyWrites"),
        (
            503,
            system("OptimisticConcurrencyControlFailure"),
            "service OptimisticConcurrencyControlFailure",
        ),
        (
            503,
            system("CommitterFullError"),
            "service CommitterFullError",
        ),
        (503, system("ExecuteFullError"), "service ExecuteFullError"),
        (503, system("ExpiredInQueue"), "service ExpiredInQueue"),
        (503, system("WorkerOverloaded"), "service WorkerOverloaded"),
        (
            503,
            system("TableSummariesUnavailable"),
            "service TableSummariesUnavailable",
        ),
        (503, String::new(), "service http_503"),
        (
            500,
            system("InternalServerError"),
            "service InternalServerError",
        ),
        (502, "<html>bad gateway</html>".into(), "service http_502"),
        (504, String::new(), "service http_504"),
        (408, String::new(), "service http_408"),
        (409, system("Conflict"), "service Conflict"),
        (421, String::new(), "service http_421"),
        (425, String::new(), "service http_425"),
        (302, String::new(), "service http_302"),
        (204, String::new(), "service http_204"),
        (100, String::new(), "service http_100"),
        (599, String::new(), "service http_599"),
        (u16::MAX, String::new(), "service http_65535"),
    ] {
        assert_eq!(ending(status, &body), expected, "{status} {body}");
    }
}

#[test]
fn what_is_no_reply_of_a_function_is_never_a_success() {
    for body in [
        "",
        "{}",
        "null",
        "[]",
        "true",
        "<html></html>",
        "{\"status\":\"success\"}",
        "{\"status\":\"ok\",\"value\":1}",
        "{\"value\":{}}",
        "{\"status\":true,\"value\":{}}",
        "{\"status\":\"success\",\"value\":{}",
        "\u{0}",
        "{\"status\":\"Success\",\"value\":{}}",
        "{\"status\":\"error\",\"status\":\"success\",\"value\":{}}",
    ] {
        assert_eq!(ending(200, body), "service garbage", "{body}");
    }
    let deep = format!(
        "{{\"status\":\"success\",\"value\":{}}}",
        "[".repeat(100_000)
    );
    assert_eq!(ending(200, &deep), "service garbage");
}

#[test]
fn a_record_cannot_pass_itself_off_as_an_outage() {
    let quoted = format!(
        "Uncaught Error: row {} Cannot run functions while this deployment is paused",
        "x".repeat(200)
    );
    assert_eq!(
        ending(200, &thrown(&quoted)),
        "unstructured function_failed"
    );
    let below = thrown("Uncaught Error: boom\nYou have exceeded the free plan limits");
    assert_eq!(ending(200, &below), "unstructured function_failed");
}

#[test]
fn of_a_message_only_the_request_id_is_kept() {
    let told = |message: &str| {
        let body = json!({"status": "error", "errorMessage": message}).to_string();
        match read(200, None, body.as_bytes()) {
            Err(Failure::Unstructured { message, .. }) => message,
            other => panic!("{other:?}"),
        }
    };
    let redacted = told("[Request ID: 1f9c] Server Error\nUncaught Error: no room for Ada");
    assert!(redacted.ends_with("request id 1f9c"), "{redacted}");
    for message in [
        "Uncaught Error: no room for Ada",
        "[Request ID: Ada Varga] Server Error",
        "[Request ID: Ada",
        "",
    ] {
        assert_eq!(told(message), "the deployment's log has the message");
    }
}

#[test]
fn the_wait_that_convex_asks_for_is_handed_on() {
    let wait = Some(Duration::from_secs(9));
    let failure = read(429, wait, b"").unwrap_err();
    assert_eq!(failure.fault(), Fault::Service { retry_after: wait });
}

proptest! {
    #[test]
    fn no_reply_makes_it_panic_and_success_is_only_what_says_so(status in any::<u16>(), body in ".{0,80}") {
        let result = read(status, None, body.as_bytes());
        prop_assert!(result.is_err() || (body.contains("success") && matches!(status, 200 | 560)));
    }
}
