//! What the cache is worth, and how long there is room.

use crate::monitoring::panels::{Board, Row, heatmap, lines, stack, stat};

pub fn board() -> Board {
    Board {
        uid: "larder-cache",
        title: "Larder / Cache value and capacity",
        description: "Does the cache pay, is it large enough, and when is the disk full?",
        refresh: "1m",
        from: "now-24h",
        rows: vec![value(), evictions(), capacity(), log(), given_back()],
    }
}

fn value() -> Row {
    Row {
        title: "Value",
        panels: vec![
            stat("Hits", "percentunit", "Part of the files asked for that were there, over the time shown.")
                .wide(4)
                .query("", "sum(increase(larder_lookups_total{@,result=\"hit\"}[$__range])) / sum(increase(larder_lookups_total{@}[$__range]))"),
            stat("Known already", "percentunit", "Part of the published bytes that the store had already, over the time shown.")
                .wide(4)
                .query("", "sum(increase(larder_upload_bytes_total{@,dedupe=\"known\"}[$__range])) / sum(increase(larder_upload_bytes_total{@}[$__range]))"),
            stat("Bytes a byte", "short", "Bytes of files for each byte of log: what deduplication saves on disk.")
                .wide(4)
                .query("", "sum(larder_store_logical_bytes{@}) / sum(larder_store_used_bytes{@})"),
            stat("Served", "bytes", "Bytes of files sent, over the time shown.")
                .wide(4)
                .query("", "sum(increase(larder_http_response_body_bytes_total{@,op=\"get_file\"}[$__range]))"),
            stat("Not transferred", "bytes", "Bytes that clients had already (304) or did not have to send, over the time shown.")
                .wide(4)
                .query("", "sum(increase(larder_http_avoided_bytes_total{@}[$__range]))"),
            stat("Unused for", "s", "How long the file of a cache that is next to go has not been used. Short: the cache is too small.")
                .wide(4)
                .query("", "time() - min(larder_oldest_access_timestamp_seconds{@} > 0)"),
            lines("Hit ratio", "percentunit", "Part of the files asked for that were there.")
                .query("hits", "sum(rate(larder_lookups_total{@,result=\"hit\"}[~])) / sum(rate(larder_lookups_total{@}[~]))"),
            stack("Look-ups", "reqps", "Files asked for by GET and HEAD in a second.")
                .query("{{result}}", "sum by (result) (rate(larder_lookups_total{@}[~]))"),
            stack("Bytes avoided", "binBps", "Bytes a second that did not travel: downloads answered with 304, uploads refused before their body.")
                .query("{{how}}", "sum by (how) (rate(larder_http_avoided_bytes_total{@}[~]))"),
        ],
    }
}

fn evictions() -> Row {
    Row {
        title: "Evictions and retention",
        panels: vec![
            stack(
                "Evicted",
                "binBps",
                "Bytes of cache files evicted a second, by what made room necessary.",
            )
            .query(
                "{{reason}}",
                "sum by (reason) (rate(larder_evicted_bytes_total{@}[~]))",
            ),
            stack(
                "Evicted files",
                "cps",
                "Cache files evicted a second, by what made room necessary.",
            )
            .query(
                "{{reason}}",
                "sum by (reason) (rate(larder_evicted_files_total{@}[~]))",
            ),
            lines(
                "Age at eviction",
                "s",
                "How long evicted files had not been used. Small ages mean that the cache is too small.",
            )
            .query(
                "p10",
                "histogram_quantile(0.1, sum by (le) (rate(larder_eviction_age_seconds_bucket{@}[~])))",
            )
            .query(
                "p50",
                "histogram_quantile(0.5, sum by (le) (rate(larder_eviction_age_seconds_bucket{@}[~])))",
            ),
            lines(
                "Versions removed by retention",
                "cps",
                "Versions a second that retention rules removed.",
            )
            .query(
                "versions",
                "sum(rate(larder_retention_removed_versions_total{@}[~]))",
            ),
            heatmap(
                "Sizes of published files",
                "bytes",
                "How many files of which size were published.",
            )
            .query(
                "{{le}}",
                "sum by (le) (increase(larder_artifact_bytes_bucket{@}[~]))",
            ),
            lines(
                "Uploads refused for want of room",
                "reqps",
                "Uploads refused in a second, by what was full.",
            )
            .query(
                "{{reason}}",
                "sum by (reason) (rate(larder_store_refused_total{@}[~]))",
            ),
        ],
    }
}

fn capacity() -> Row {
    Row {
        title: "Capacity",
        panels: vec![
            lines("Bytes", "bytes", "Logical: all files. Unique: equal content once. Physical: everything in the data directory. Counted once in a while.")
                .query("logical", "sum(larder_store_logical_bytes{@})")
                .query("unique", "sum(larder_store_unique_bytes{@})")
                .query("physical", "sum(larder_store_physical_bytes{@})"),
            lines("Names", "short", "What has a name.")
                .query("packages", "sum(larder_store_packages{@})")
                .query("versions", "sum(larder_store_versions{@})")
                .query("files", "sum(larder_store_files{@})"),
            lines("Contents", "short", "What is stored: distinct contents, and the chunks that they are made of.")
                .query("contents", "sum(larder_store_blobs{@})")
                .query("chunks", "sum(larder_store_chunks{@})"),
            lines("Disk full in", "s", "At the pace of the last six hours, at most a year. The alert LarderDiskFullIn24h looks at the same.")
                .query("{{instance}}", "clamp_max(larder_disk_free_bytes{@} / clamp_min(-deriv(larder_disk_free_bytes{@}[6h]), 1), 31536000)"),
            lines("Inodes free", "short", "Files that the disks can still take; -1 where they do not count them.")
                .query("{{instance}}", "larder_disk_inodes_free{@}"),
            lines("Uploads refused", "short", "1 from the high watermark on, until the store is below the low one.")
                .query("{{instance}}", "larder_store_above_high{@}"),
            lines("Held by owners", "bytes", "Bytes of the files of the owners that metrics.owners asks for, and of all others (_other).")
                .query("{{owner}}", "sum by (owner) (larder_owner_held_bytes{@})"),
            lines("Versions of owners", "short", "Versions and files of those owners.")
                .query("{{owner}}: versions", "sum by (owner) (larder_owner_held_versions{@})")
                .query("{{owner}}: files", "sum by (owner) (larder_owner_held_files{@})"),
            lines("Owners' quotas", "percentunit", "Part of its quotas of bytes and of versions that an owner holds, where it has them.")
                .query("{{owner}}: bytes", "max by (owner) (larder_owner_held_bytes{@} / (larder_owner_limit_bytes{@} > 0))")
                .query("{{owner}}: versions", "max by (owner) (larder_owner_held_versions{@} / (larder_owner_limit_versions{@} > 0))"),
            lines("Age of these figures", "s", "Time since logical, unique and physical bytes and the numbers of names were counted.")
                .query("{{instance}}", "time() - (larder_store_counted_timestamp_seconds{@} > 0)"),
        ],
    }
}

fn log() -> Row {
    Row {
        title: "Log",
        panels: vec![
            stack("Live and dead", "bytes", "Bytes of log files that are needed, and that are not any more, at the last scan.")
                .query("{{kind}} live", "sum by (kind) (larder_log_live_bytes{@})")
                .query("{{kind}} dead", "sum by (kind) (larder_log_dead_bytes{@})"),
            lines("Part that is dead", "percentunit", "Compaction keeps it small.")
                .query("{{kind}}", "sum by (kind) (larder_log_dead_bytes{@}) / clamp_min(sum by (kind) (larder_log_dead_bytes{@} + larder_log_live_bytes{@}), 1)"),
            lines("Reserved", "bytes", "Bytes on disk beyond those used: room in active files and for the index, and the ballast for a full disk.")
                .query("reserved", "sum(larder_store_reserved_bytes{@})")
                .query("ballast", "sum(larder_store_ballast_bytes{@})"),
        ],
    }
}

fn given_back() -> Row {
    Row {
        title: "Given back",
        panels: vec![
            lines(
                "Dropped by collection",
                "binBps",
                "Bytes a second of chunks that no name led to any more.",
            )
            .query("dropped", "sum(rate(larder_gc_dropped_bytes_total{@}[~]))")
            .query(
                "log made smaller",
                "sum(rate(larder_gc_reclaimed_bytes_total{@}[~]))",
            ),
            lines(
                "Chunks dropped",
                "cps",
                "Chunks a second that collection dropped.",
            )
            .query("chunks", "sum(rate(larder_gc_dropped_chunks_total{@}[~]))"),
            lines(
                "Compaction",
                "binBps",
                "Live bytes a second that compaction wrote again, and bytes of files that it removed.",
            )
            .query("copied", "sum(rate(larder_compaction_copied_bytes_total{@}[~]))")
            .query("freed", "sum(rate(larder_compaction_freed_bytes_total{@}[~]))"),
        ],
    }
}
