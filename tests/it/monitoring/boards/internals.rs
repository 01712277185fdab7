//! Why something is slow: actors, committer, segments, index, jobs, process.

use crate::monitoring::panels::{Board, Row, lines, stack};

pub fn board() -> Board {
    Board {
        uid: "larder-internals",
        title: "Larder / Internals",
        description: "What requests wait for: actors, the committer, segments, the index; and what works in the background.",
        refresh: "30s",
        from: "now-3h",
        rows: vec![
            actors(),
            committer(),
            segments_and_index(),
            jobs(),
            trust(),
            process(),
        ],
    }
}

fn actors() -> Row {
    Row {
        title: "Actors and admission",
        panels: vec![
            lines("Waiting, p99", "s", "99 of 100 writes wait no longer: for an upload's turn, for the owner's actor, for the commit.")
                .query("for the {{for}}", "histogram_quantile(0.99, sum by (le, for) (rate(larder_owner_wait_seconds_bucket{@}[~])))"),
            lines("Waiting, mean", "s", "Mean time that a write waits.")
                .query("for the {{for}}", "sum by (for) (rate(larder_owner_wait_seconds_sum{@}[~])) / clamp_min(sum by (for) (rate(larder_owner_wait_seconds_count{@}[~])), 0.001)"),
            lines("Uploads in progress", "short", "Uploads that have their turn, of how many may.")
                .query("uploads", "sum(larder_uploads_in_progress{@})")
                .query("limit", "sum(larder_uploads_limit{@})"),
            lines("Actors", "short", "Owners whose actor runs: one for each owner that was written to lately.")
                .query("{{instance}}", "larder_owner_actors{@}"),
            stack("Writes refused", "cps", "Writes a second that names, policies or bounds did not allow.")
                .query("{{reason}}", "sum by (reason) (rate(larder_owner_refused_total{@}[~]))"),
            lines("Decided again", "cps", "Decisions a second that had to be taken again, since a commit they relied on did not come about.")
                .query("again", "sum(rate(larder_owner_asked_again_total{@}[~]))"),
        ],
    }
}

fn committer() -> Row {
    Row {
        title: "Committer",
        panels: vec![
            lines("Journal sync", "s", "Time of one fdatasync of the journal: what a small upload waits for at least.")
                .query("p50", "histogram_quantile(0.5, sum by (le) (rate(larder_commit_fsync_seconds_bucket{@}[~])))")
                .query("p99", "histogram_quantile(0.99, sum by (le) (rate(larder_commit_fsync_seconds_bucket{@}[~])))"),
            lines("Group size", "short", "Commits that share one sync: the more load, the larger the groups.")
                .query("mean", "sum(rate(larder_commit_group_commits_sum{@}[~])) / clamp_min(sum(rate(larder_commit_group_commits_count{@}[~])), 0.001)")
                .query("p99", "histogram_quantile(0.99, sum by (le) (rate(larder_commit_group_commits_bucket{@}[~])))"),
            lines("Journal writes", "binBps", "Bytes a second written to the journal.")
                .query("bytes", "sum(rate(larder_commit_group_bytes_sum{@}[~]))"),
            lines("Commits waiting", "short", "Changes that are not yet durable, of how many may wait.")
                .query("waiting", "sum(larder_commit_waiting{@})")
                .query("limit", "sum(larder_commit_waiting_limit{@})"),
            lines("Syncs", "ops", "Syncs a second, of journal and segments.")
                .query("journal", "sum(rate(larder_commit_fsync_seconds_count{@}[~]))")
                .query("segments", "sum(rate(larder_segment_fsync_seconds_count{@}[~]))"),
            lines("Commits refused", "cps", "Changes a second refused because the queue was full (503).")
                .query("refused", "sum(rate(larder_commit_queue_full_total{@}[~]))"),
        ],
    }
}

fn segments_and_index() -> Row {
    Row {
        title: "Segments and index",
        panels: vec![
            lines(
                "Segment sync",
                "s",
                "Time of one sync of a segment: what a large upload waits for at its end.",
            )
            .query(
                "p50",
                "histogram_quantile(0.5, sum by (le) (rate(larder_segment_fsync_seconds_bucket{@}[~])))",
            )
            .query(
                "p99",
                "histogram_quantile(0.99, sum by (le) (rate(larder_segment_fsync_seconds_bucket{@}[~])))",
            ),
            lines(
                "Segment queue",
                "bytes",
                "Bytes of uploads that wait in memory for the disk, of how many may.",
            )
            .query("waiting", "sum(larder_segment_queue_bytes{@})")
            .query("limit", "sum(larder_segment_queue_limit_bytes{@})"),
            stack("Index look-ups", "ops", "Look-ups a second, by what answered.")
                .query("{{by}}", "sum by (by) (rate(larder_index_lookups_total{@}[~]))"),
            lines("Index size", "bytes", "Bytes of the index on disk.")
                .query("{{instance}}", "larder_index_size_bytes{@}"),
            lines(
                "Runs of the index",
                "short",
                "Sorted runs that look-ups may have to ask; many for long: merging has no room on the disk.",
            )
            .query("{{instance}}", "larder_index_runs{@}"),
            lines(
                "Age of the checkpoint",
                "s",
                "Time since the index was last made durable: a crash replays the log from there.",
            )
            .query(
                "{{instance}}",
                "time() - (larder_index_checkpoint_timestamp_seconds{@} > 0)",
            ),
            lines("Checkpoint", "s", "Time that it takes to make the index durable.").query(
                "p99",
                "histogram_quantile(0.99, sum by (le) (rate(larder_index_checkpoint_seconds_bucket{@}[~])))",
            ),
            lines(
                "Write stalls of the index",
                "ops",
                "Writes a second that waited because the index was written to faster than it is made durable.",
            )
            .query("{{instance}}", "rate(larder_index_write_stalls_total{@}[~])"),
        ],
    }
}

fn jobs() -> Row {
    Row {
        title: "Jobs",
        panels: vec![
            stack("Runs", "short", "Passes that ended within the interval, by how.")
                .query("collection {{result}}", "sum by (result) (increase(larder_gc_runs_total{@}[~]))")
                .query("scrub {{result}}", "sum by (result) (increase(larder_scrub_runs_total{@}[~]))")
                .query("retention {{result}}", "sum by (result) (increase(larder_retention_runs_total{@}[~]))")
                .query("eviction {{result}}", "sum by (result) (increase(larder_eviction_runs_total{@}[~]))")
                .query("backup {{result}}", "sum by (result) (increase(larder_backup_runs_total{@}[~]))"),
            lines("Mean duration", "s", "Time of a pass, as far as passes ended in the time shown.")
                .query("collection", "sum(increase(larder_gc_duration_seconds_sum{@}[$__range])) / sum(increase(larder_gc_duration_seconds_count{@}[$__range]))")
                .query("scrub", "sum(increase(larder_scrub_duration_seconds_sum{@}[$__range])) / sum(increase(larder_scrub_duration_seconds_count{@}[$__range]))")
                .query("retention", "sum(increase(larder_retention_duration_seconds_sum{@}[$__range])) / sum(increase(larder_retention_duration_seconds_count{@}[$__range]))")
                .query("eviction", "sum(increase(larder_eviction_duration_seconds_sum{@}[$__range])) / sum(increase(larder_eviction_duration_seconds_count{@}[$__range]))")
                .query("backup", "sum(increase(larder_backup_duration_seconds_sum{@}[$__range])) / sum(increase(larder_backup_duration_seconds_count{@}[$__range]))"),
            lines("Scrub", "binBps", "Bytes a second that the scrub reads.")
                .query("{{instance}}", "rate(larder_scrub_bytes_total{@}[~])"),
            lines("Collection under way", "short", "1 while a pass of collection runs.")
                .query("{{instance}}", "larder_gc_running{@}"),
            lines("Compaction runs", "short", "Passes of compaction, and log files that they removed, within the interval.")
                .query("passes", "sum(increase(larder_compaction_runs_total{@}[~]))")
                .query("removed {{kind}}s", "sum by (kind) (increase(larder_compaction_removed_files_total{@}[~]))"),
            lines("Due every", "s", "How often jobs are due by themselves; 0: never.")
                .query("collection", "max(larder_gc_interval_seconds{@})")
                .query("scrub", "max(larder_scrub_interval_seconds{@})")
                .query("retention", "max(larder_retention_interval_seconds{@})"),
        ],
    }
}

fn trust() -> Row {
    Row {
        title: "Trust",
        panels: vec![
            lines("State", "short", "1: takes writes; names can be looked up; the index is proven to hold what the log says.")
                .query("writing", "min(larder_store_writing{@})")
                .query("index ready", "min(larder_index_ready{@})")
                .query("index proven", "min(larder_index_proven{@})"),
            lines("Damage", "short", "Chunks in quarantine, damaged places met by the scrub, damaged stretches met while reading the log.")
                .query("in quarantine", "sum(larder_store_damaged_chunks{@})")
                .query("found by the scrub", "sum(larder_scrub_damaged{@})")
                .query("stretches", "sum(increase(larder_store_damaged_stretches_total{@}[~]))"),
            lines("Index built again", "short", "Times that the index was built again from the log, within the interval.")
                .query("{{instance}}", "increase(larder_index_rebuilds_total{@}[~])"),
            stack("Sign-ins", "cps", "Requests with credentials a second, by kind and result.")
                .query("{{method}} {{result}}", "sum by (method, result) (rate(larder_auth_attempts_total{@}[~])) > 0"),
            stack("Audit events", "cps", "Events of the audit log a second: written, dropped, lost.")
                .query("{{result}}", "sum by (result) (rate(larder_audit_events_total{@}[~]))"),
            stack("Log lines left out", "cps", "Lines a second that the daemon's log or the access log left out: too many, or the disk did not take them.")
                .query("{{log}}: {{reason}}", "sum by (log, reason) (rate(larder_log_lines_dropped_total{@}[~]))"),
            stack("Key fetches", "cps", "Fetches a second of the keys of issuers of workload tokens.")
                .query("{{result}}", "sum by (result) (rate(larder_oidc_key_fetches_total{@}[~]))"),
        ],
    }
}

fn process() -> Row {
    Row {
        title: "Process",
        panels: vec![
            lines(
                "Descriptors",
                "short",
                "Open files and sockets, of how many may be open.",
            )
            .query("open", "sum(process_open_fds{@})")
            .query("limit", "sum(process_max_fds{@})"),
            lines("Connections", "short", "Open connections, of how many may be.")
                .query("open", "sum(larder_http_connections{@})")
                .query("limit", "sum(larder_http_connections_limit{@})"),
            lines("Threads", "short", "Threads of the processes.")
                .query("{{instance}}", "process_threads{@}"),
            lines(
                "Memory",
                "bytes",
                "Memory of the processes: resident, and all that is mapped.",
            )
            .query("resident", "sum(process_resident_memory_bytes{@})")
            .query("virtual", "sum(process_virtual_memory_bytes{@})"),
            lines(
                "Configuration",
                "short",
                "1: the configuration could be used when it was last read.",
            )
            .query("{{instance}}", "larder_config_last_reload_successful{@}"),
            lines(
                "Age of the settings",
                "s",
                "Time since the configuration was last read and used.",
            )
            .query(
                "{{instance}}",
                "time() - (larder_config_last_reload_success_timestamp_seconds{@} > 0)",
            ),
            lines(
                "Certificate ends in",
                "s",
                "Time until the certificate that clients see ends; absent without TLS.",
            )
            .query(
                "{{instance}}",
                "(larder_tls_certificate_not_after_timestamp_seconds{@} > 0) - time()",
            ),
        ],
    }
}
