//! The names that the outside relies on, as they are rendered.

use super::*;

#[test]
fn metrics_have_the_names_of_the_contract() {
    let metrics = Metrics::default();
    metrics.webhook("user.created", "stored");
    metrics.ensured("unchanged");
    metrics.change("users", "created", "webhook");
    metrics.latency.observe(0.02);
    metrics
        .retries
        .get_or_create(&RetryLabels { cause: "record" })
        .inc();
    metrics
        .clerk_requests
        .get_or_create(&ClerkLabels {
            endpoint: "get_user",
            status: 200,
        })
        .inc();
    metrics
        .convex_requests
        .get_or_create(&ConvexLabels {
            function: "apply",
            status: 200,
        })
        .inc();
    metrics.runs.ended("sweep", "in_sync", 0.2);
    metrics.runs.skipped("census", "paused");
    metrics.runs.found("users", "missing", 7);
    metrics.runs.missed("never_arrived");
    metrics.runs.succeeded("full", 1_700_000_000);
    let text = metrics.render();
    for line in [
        "clerk_convex_sync_webhooks_total{type=\"user.created\",result=\"stored\"} 1",
        "clerk_convex_sync_ensure_total{result=\"unchanged\"} 1",
        "clerk_convex_sync_changes_total{table=\"users\",outcome=\"created\",source=\"webhook\"} 1",
        "clerk_convex_sync_sync_latency_seconds_count 1",
        "clerk_convex_sync_queue_depth 0",
        "clerk_convex_sync_queue_oldest_age_seconds 0",
        "clerk_convex_sync_dead_letters 0",
        "clerk_convex_sync_retries_total{cause=\"record\"} 1",
        "clerk_convex_sync_clerk_requests_total{endpoint=\"get_user\",status=\"200\"} 1",
        "clerk_convex_sync_differences{table=\"users\",kind=\"missing\"} 7",
        "clerk_convex_sync_runs_total{kind=\"sweep\",outcome=\"in_sync\"} 1",
        "clerk_convex_sync_run_duration_seconds_count{kind=\"sweep\"} 1",
        "clerk_convex_sync_run_last_success_timestamp_seconds{kind=\"full\"} 1700000000",
        "clerk_convex_sync_missed_deliveries_total{cause=\"never_arrived\"} 1",
        "clerk_convex_sync_runs_skipped_total{kind=\"census\",reason=\"paused\"} 1",
        "clerk_convex_sync_convex_requests_total{function=\"apply\",status=\"200\"} 1",
        concat!(
            "clerk_convex_sync_build_info{version=\"",
            env!("CARGO_PKG_VERSION"),
            "\"} 1"
        ),
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn every_metric_of_the_contract_is_there_from_the_first_scrape() {
    let (_, text) = Metrics::default().rendered_for(None);
    for family in [
        "webhooks_total counter",
        "changes_total counter",
        "sync_latency_seconds histogram",
        "queue_depth gauge",
        "queue_oldest_age_seconds gauge",
        "dead_letters gauge",
        "retries_total counter",
        "differences gauge",
        "runs_total counter",
        "run_duration_seconds histogram",
        "clerk_requests_total counter",
        "convex_requests_total counter",
        "build_info gauge",
    ] {
        let line = format!("# TYPE clerk_convex_sync_{family}\n");
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}

#[test]
fn what_alarms_rest_on_is_there_before_it_happens() {
    let (_, text) = Metrics::default().rendered_for(None);
    for line in [
        "# TYPE clerk_convex_sync_webhooks_total counter",
        "clerk_convex_sync_webhooks_total{type=\"user.created\",result=\"cannot_store\"} 0",
        "clerk_convex_sync_webhooks_total{type=\"none\",result=\"bad_signature\"} 0",
        "clerk_convex_sync_retries_total{cause=\"convex\"} 0",
        "# TYPE clerk_convex_sync_build_info gauge",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
