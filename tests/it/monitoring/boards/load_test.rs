//! What happens under a load test, second by second.

use crate::monitoring::panels::{Board, Row, heatmap, lines, stack};

pub fn board() -> Board {
    Board {
        uid: "larder-load-test",
        title: "Larder / Load test",
        description: "For the minutes of a load test: scrape every second (see grafana/prometheus/prometheus.yml).",
        refresh: "5s",
        from: "now-15m",
        rows: vec![clients(), server()],
    }
}

fn clients() -> Row {
    Row {
        title: "What clients get",
        panels: vec![
            stack("Requests", "reqps", "Requests answered in a second.")
                .query("{{op}}", "sum by (op) (rate(larder_http_requests_total{@,op!~\"health|metrics\"}[~]))"),
            lines("Bytes", "binBps", "Bytes of bodies a second.")
                .query("in", "sum(rate(larder_http_request_body_bytes_total{@}[~]))")
                .query("out", "sum(rate(larder_http_response_body_bytes_total{@}[~]))"),
            lines("Not succeeding", "reqps", "Requests a second that failed (5xx), were rejected, or were not finished.")
                .query("failed", "sum(rate(larder_http_requests_total{@,code=~\"5..\"}[~]))")
                .query("rejected", "sum(rate(larder_http_requests_rejected_total{@}[~]))")
                .query("aborted", "sum(rate(larder_http_requests_aborted_total{@}[~]))"),
            heatmap("Downloads: time to first byte", "s", "How many downloads had their first byte in which time.")
                .query("{{le}}", "sum by (le) (increase(larder_http_time_to_first_byte_seconds_bucket{@,op=\"get_file\"}[~]))"),
            heatmap("Uploads: whole time", "s", "How many uploads took how long.")
                .query("{{le}}", "sum by (le) (increase(larder_http_request_duration_seconds_bucket{@,op=\"put_file\"}[~]))"),
            lines("p99 by operation", "s", "99 of 100 requests are over within this time.")
                .query("{{op}}", "histogram_quantile(0.99, sum by (le, op) (rate(larder_http_request_duration_seconds_bucket{@,op=~\".+_file\"}[~])))"),
        ],
    }
}

fn server() -> Row {
    Row {
        title: "What it costs",
        panels: vec![
            lines("Processors", "short", "Processors that the processes keep busy.")
                .query("{{instance}}", "rate(process_cpu_seconds_total{@}[~])"),
            lines("Memory", "bytes", "Memory of the processes.")
                .query("{{instance}}", "process_resident_memory_bytes{@}"),
            lines("In flight", "short", "Requests that are being answered, and open connections.")
                .query("requests", "sum(larder_http_requests_in_flight{@})")
                .query("connections", "sum(larder_http_connections{@})"),
            lines("Journal sync", "s", "Time of one fdatasync of the journal.")
                .query("p50", "histogram_quantile(0.5, sum by (le) (rate(larder_commit_fsync_seconds_bucket{@}[~])))")
                .query("p99", "histogram_quantile(0.99, sum by (le) (rate(larder_commit_fsync_seconds_bucket{@}[~])))"),
            lines("Commits a sync", "short", "Commits that share one sync.")
                .query("mean", "sum(rate(larder_commit_group_commits_sum{@}[~])) / clamp_min(sum(rate(larder_commit_group_commits_count{@}[~])), 0.001)"),
            lines("Fast path", "percentunit", "Part of the requests for files that the fast path answers (docs/performance.md).")
                .query("of requests", "sum(rate(larder_http_fast_path_requests_total{@}[~])) / clamp_min(sum(rate(larder_http_requests_total{@,op=~\"get_file|head_file|put_file|delete_file\"}[~])), 0.001)"),
            lines("Waiting, p99", "s", "99 of 100 writes wait no longer.")
                .query("for the {{for}}", "histogram_quantile(0.99, sum by (le, for) (rate(larder_owner_wait_seconds_bucket{@}[~])))"),
        ],
    }
}
