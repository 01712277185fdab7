//! Larder: a storage daemon for CI artifacts and build caches.
//!
//! Gitea's generic-package API in front, an append-only log indexed by sled behind, one actor for each owner of
//! packages in between. The one idea: **the log is the database, sled is its index** (`docs/format.md`).
//!
//! # The rooms
//!
//! In reading order; each may use those below it, never those above (`tests/layering.rs` proves it).
//!
//! - [`cli`]: the command line, one file a subcommand
//! - [`daemon`]: puts the rooms together; start and shutdown
//! - [`config`]: raw configuration to validated options
//! - [`http`]: the only room that says actix_web or a status code
//! - [`upkeep`]: background work
//! - [`artifact`]: the verbs that every door calls: publish, fetch, remove
//! - [`access`]: who may do what
//! - [`owner`]: the actors that decide about names
//! - [`store`]: the log, its index, and the bytes
//! - [`chunk`]: digests, cut points and checksums
//! - [`telemetry`]: metrics and logs; everybody may use it
//!
//! # The way of a PUT
//!
//! `http` authenticates, parses names and refuses from committed state what cannot win. `artifact` takes the body in:
//! cut, hashed, deduplicated; small bodies stay in memory, larger ones go to segments and are synced there. The owner's
//! actor in `owner` decides against committed and tentative state. The committer in `store` proves what the decision
//! expected, writes the journal group, syncs it (now it is true), updates the index, and the answer is sent.
//!
//! # Invariants, and the tests that attack them
//!
//! Invariant 1: bytes are durable before any name points at them; names are gone before bytes are.
//! test: `it::durability::what_was_acknowledged_survives_kill_9`
//!
//! Invariant 2: a name becomes visible whole or not at all; a refused or broken upload leaves nothing.
//! test: `it::broken::an_upload_that_ends_early_leaves_nothing`, test: `it::races::cache_replaces_whole_files_only`
//!
//! Invariant 3: only an owner's actor decides about that owner's names, and the committer proves its expectation;
//! everyone else reads.
//! test: `owner::tests::workers_agree_on_one_winner`, test: `store::tests::what_is_no_longer_so_is_a_conflict`,
//! test: `owner::quota_tests::an_actor_that_dies_overshoots_no_quota`
//!
//! Invariant 4: the index can be deleted at any time the daemon is down.
//! test: `it::index::a_deleted_index_is_built_again_from_the_log`,
//! test: `store::tests::a_rebuilt_index_equals_the_live_one`; and whatever becomes of it, no answer is wrong:
//! test: `store::index_tests::whatever_happens_to_its_files_between_two_runs_no_answer_is_wrong`,
//! test: `store::index_tests::an_index_that_fails_while_open_is_built_again_and_writes_go_on`
//!
//! Invariant 5: every queue, buffer and body is bounded; each bound is a config value.
//! test: `store::log::segment::tests::the_queue_is_bounded_in_bytes`,
//! test: `it::races::stalled_uploads_that_hold_all_permits_make_others_wait_then_503`
//!
//! Invariant 6: what is served was verified; what is damaged is never served; what is served once is not lost by the
//! next crash.
//! test: `it::damage::a_download_stops_before_damaged_bytes`,
//! test: `store::crash_tests::a_torn_first_group_is_cut_and_neither_its_ids_nor_its_number_come_back`
//!
//! Invariant 7: what reaches the disk carries magic and version; every past version opens.
//! test: `store::log::format::tests::golden_bytes`,
//! test: `store::identity::tests::another_format_and_a_lost_identity_are_refused`,
//! test: `it::fixture::the_store_of_format_2_opens_and_serves_what_it_did`
//!
//! Invariant 8: memory does not grow with the number of stored objects beyond the index cache, sled's page table and two
//! bytes for each row of the index, nor with the size of an upload.
//! test: `it::memory::sixty_four_large_uploads_at_once`
//!
//! Invariant 9: start-up work depends on what was written since the last checkpoint, not on how much is stored; the
//! port opens first.
//! test: `store::crash_tests::a_clean_start_replays_nothing`,
//! test: `it::lifecycle::before_it_is_ready_nothing_is_missing_it_is_503`

#![deny(missing_docs)]
#![warn(clippy::unwrap_used, clippy::expect_used)]
// They panic when the reader has gone: `cli::output` and plain writes do not.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub mod access;
pub mod artifact;
pub mod chunk;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod http;
pub mod owner;
pub mod store;
pub mod telemetry;
pub mod upkeep;
