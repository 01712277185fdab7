//! Whether it is healthy, at a glance.

use crate::monitoring::panels::{Board, Row, lines, stack, stat};

pub fn board() -> Board {
    Board {
        uid: "larder-overview",
        title: "Larder / Overview",
        description: "Is it healthy, does the cache pay, when is the disk full, and is something slow?",
        refresh: "30s",
        from: "now-6h",
        rows: vec![at_a_glance(), requests(), not_succeeding(), room(), background()],
    }
}

fn at_a_glance() -> Row {
    Row {
        title: "At a glance",
        panels: vec![
            stat("State", "short", "Whether every instance is ready (/readyz). 0: at least one is not, or writing has stopped.")
                .words("not ready", "ready")
                .steps(&[(f64::MIN, "red"), (1.0, "green")])
                .query("", "min(larder_ready{@})"),
            stat("Up since", "s", "Time since the start of the instance that started last.")
                .query("", "time() - max(process_start_time_seconds{@})"),
            stat("Requests", "reqps", "Requests answered in a second, without health and metrics.")
                .query("", "sum(rate(larder_http_requests_total{@,op!~\"health|metrics\"}[~]))"),
            stat("Failing", "percentunit", "Part of the requests answered with a 5xx, without health and metrics: failures, too busy, disk full.")
                .steps(&[(0.001, "orange"), (0.01, "red")])
                .query("", "sum(rate(larder_http_requests_total{@,op!~\"health|metrics\",code=~\"5..\"}[~])) / sum(rate(larder_http_requests_total{@,op!~\"health|metrics\"}[~]))"),
            stat("Download p99", "s", "99 of 100 downloads have their first byte within this time.")
                .steps(&[(0.25, "orange"), (1.0, "red")])
                .query("", "histogram_quantile(0.99, sum by (le) (rate(larder_http_time_to_first_byte_seconds_bucket{@,op=\"get_file\"}[~])))"),
            stat("Hits", "percentunit", "Part of the files asked for that were there.")
                .query("", "sum(rate(larder_lookups_total{@,result=\"hit\"}[~])) / sum(rate(larder_lookups_total{@}[~]))"),
            stat("Disk free", "percentunit", "What the fullest disk has left.")
                .steps(&[(f64::MIN, "red"), (0.1, "orange"), (0.2, "green")])
                .query("", "min(larder_disk_free_bytes{@} / larder_disk_size_bytes{@})"),
            stat("Damaged", "short", "Chunks and manifests in quarantine. Must be 0; publishing the same bytes again heals them.")
                .steps(&[(1.0, "red")])
                .query("", "sum(larder_store_damaged_chunks{@})"),
        ],
    }
}

fn requests() -> Row {
    Row {
        title: "Requests",
        panels: vec![
            stack("Requests by operation", "reqps", "Requests answered in a second.")
                .query("{{op}}", "sum by (op) (rate(larder_http_requests_total{@}[~]))"),
            lines("Downloads: time to first byte", "s", "From the head of a GET of a file to the first byte of its answer.")
                .query("p50", "histogram_quantile(0.5, sum by (le) (rate(larder_http_time_to_first_byte_seconds_bucket{@,op=\"get_file\"}[~])))")
                .query("p90", "histogram_quantile(0.9, sum by (le) (rate(larder_http_time_to_first_byte_seconds_bucket{@,op=\"get_file\"}[~])))")
                .query("p99", "histogram_quantile(0.99, sum by (le) (rate(larder_http_time_to_first_byte_seconds_bucket{@,op=\"get_file\"}[~])))"),
            lines("Uploads: whole time", "s", "From the head of a PUT of a file to the end of its answer; the client's own speed is in it.")
                .query("p50", "histogram_quantile(0.5, sum by (le) (rate(larder_http_request_duration_seconds_bucket{@,op=\"put_file\"}[~])))")
                .query("p90", "histogram_quantile(0.9, sum by (le) (rate(larder_http_request_duration_seconds_bucket{@,op=\"put_file\"}[~])))")
                .query("p99", "histogram_quantile(0.99, sum by (le) (rate(larder_http_request_duration_seconds_bucket{@,op=\"put_file\"}[~])))"),
            lines("Answers by status", "reqps", "Requests answered in a second, by status code.")
                .query("{{code}}", "sum by (code) (rate(larder_http_requests_total{@}[~])) > 0"),
            lines("In flight", "short", "Requests that are being answered.")
                .query("{{op}}", "sum by (op) (larder_http_requests_in_flight{@})"),
            lines("Bytes in and out", "binBps", "Bytes of bodies a second.")
                .query("in", "sum(rate(larder_http_request_body_bytes_total{@}[~]))")
                .query("out", "sum(rate(larder_http_response_body_bytes_total{@}[~]))"),
        ],
    }
}

fn not_succeeding() -> Row {
    Row {
        title: "What does not succeed",
        panels: vec![
            lines("Failing by operation", "reqps", "Requests answered with a 5xx in a second.")
                .query("{{op}}", "sum by (op) (rate(larder_http_requests_total{@,code=~\"5..\"}[~]))"),
            stack("Rejected by reason", "reqps", "Requests refused in a second: auth, rate limits, bad or taken names, conditions, sizes, quotas, disk, too busy, too slow.")
                .query("{{reason}}", "sum by (reason) (rate(larder_http_requests_rejected_total{@}[~]))"),
            stack("Aborted", "reqps", "Answers not finished in a second, by the side that gave up. The server gives up where it meets damage.")
                .query("{{op}} by the {{side}}", "sum by (op, side) (rate(larder_http_requests_aborted_total{@,op=~\".+_file\"}[~]))"),
        ],
    }
}

fn room() -> Row {
    Row {
        title: "Room",
        panels: vec![
            lines("Store", "bytes", "Bytes of log files, what is held beyond them, and what they may take (store.max_size; 0: the disk decides).")
                .query("used", "sum(larder_store_used_bytes{@})")
                .query("reserved", "sum(larder_store_reserved_bytes{@})")
                .query("limit", "sum(larder_store_limit_bytes{@})"),
            lines("Disk", "bytes", "What the disks of the stores have left, of what they have.")
                .query("free", "sum(larder_disk_free_bytes{@})")
                .query("size", "sum(larder_disk_size_bytes{@})"),
            lines("Bytes published", "binBps", "Bytes of published files a second: what the store did not have, and what it had already.")
                .query("{{dedupe}}", "sum by (dedupe) (rate(larder_upload_bytes_total{@}[~]))"),
        ],
    }
}

fn background() -> Row {
    Row {
        title: "Background work and process",
        panels: vec![
            lines(
                "Since the last success",
                "s",
                "Time since each job last came to its end; absent before the first time.",
            )
            .query(
                "collection",
                "time() - max(larder_gc_last_success_timestamp_seconds{@} > 0)",
            )
            .query(
                "scrub",
                "time() - max(larder_scrub_last_success_timestamp_seconds{@} > 0)",
            )
            .query(
                "retention",
                "time() - max(larder_retention_last_success_timestamp_seconds{@} > 0)",
            )
            .query(
                "eviction",
                "time() - max(larder_eviction_last_success_timestamp_seconds{@} > 0)",
            )
            .query(
                "backup",
                "time() - max(larder_backup_last_success_timestamp_seconds{@} > 0)",
            ),
            lines("Memory", "bytes", "Memory of the processes.")
                .query("{{instance}}", "process_resident_memory_bytes{@}"),
            lines("Processors", "short", "Processors that the processes keep busy.")
                .query("{{instance}}", "rate(process_cpu_seconds_total{@}[~])"),
        ],
    }
}
