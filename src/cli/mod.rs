//! The command line: one file a subcommand.
//!
//! A subcommand loads the configuration, does its work and returns a [`failure::Failure`] or nothing; [`main`] alone prints
//! failures and turns them into exit codes.

mod account;
mod audit;
mod backup;
mod check_config;
mod completions;
mod config;
mod failure;
mod gc;
mod healthcheck;
mod monitoring;
mod output;
mod progress;
mod rebuild_index;
mod reload;
mod restore;
mod serve;
mod stats;
mod store_args;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const LONG_ABOUT: &str = "\
Larder stores what CI publishes and what build caches keep: files under owner, package, version and name, behind \
Gitea's generic-package API. Files are deduplicated, and a publication that was answered survives a power cut.

Without a subcommand it serves, on built-in defaults: data in ./larder-data, listening on 127.0.0.1:3000.";

const AFTER_HELP: &str = "\
Examples:
  larder
      Serve on the defaults; prints curl lines to paste.
  larder serve --config /etc/larder/larder.toml
      Serve as a service would.
  larder config --config larder.toml
      Show every setting and where it comes from.
  larder check-config --config larder.toml
      Say what is wrong with a configuration, or that it is good.
  larder account password admin
      Set a password, whether the daemon runs or not.
  larder account token create ci-bot nightly --scope write:package --grant 'tools/*=write'
      Make a token for CI and print it; 'larder account --help' has the rest.
  larder gc --dry-run
      Show how much space belongs to nothing any more.
  larder stats
      Show what the store holds and takes.
  larder backup /backups/larder
      Copy the store, whether the daemon runs or not; again to bring the copy up to date.
  larder verify
      Read every record of a store that is not in use.

Configuration: built-in defaults < file (--config, else the variable LARDER_CONFIG) < environment variables \
(LARDER__SECTION__KEY, as in LARDER__STORE__DATA) < flags.

Exit codes: 0 done and clean; 1 failed, or damage found; 2 wrong usage or configuration; 3 the store is in use.";

/// A durable, deduplicating store for CI artifacts and build caches
#[derive(Debug, Parser)]
#[command(
    name = "larder",
    version,
    long_about = LONG_ABOUT,
    after_long_help = AFTER_HELP,
    after_help = "See 'larder --help' for examples, configuration and exit codes.",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    serve: serve::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Config(config::Args),
    CheckConfig(check_config::Args),
    RebuildIndex(rebuild_index::Args),
    Account(account::Args),
    Gc(gc::Args),
    Monitoring(monitoring::Args),
    Stats(stats::Args),
    Verify(verify::Args),
    Backup(backup::Args),
    Restore(restore::Args),
    Reload(reload::Args),
    Healthcheck(healthcheck::Args),
    Completions(completions::Completions),
    Man(completions::Man),
}

/// Does what the command line of this process says. The result is the process's exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, with code 0. Nobody to tell if the output is closed.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(failure::USAGE));
        }
    };
    let done = match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => args.run(),
        Command::Config(args) => args.run(),
        Command::CheckConfig(args) => args.run(),
        Command::RebuildIndex(args) => args.run(),
        Command::Account(args) => args.run(),
        Command::Gc(args) => args.run(),
        Command::Monitoring(args) => args.run(),
        Command::Stats(args) => args.run(),
        Command::Verify(args) => args.run(),
        Command::Backup(args) => args.run(),
        Command::Restore(args) => args.run(),
        Command::Reload(args) => args.run(),
        Command::Healthcheck(args) => args.run(),
        Command::Completions(args) => args.run(),
        Command::Man(args) => args.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            failure.code()
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_subcommand_serves_with_its_flags() {
        let cli = Cli::try_parse_from(["larder", "--data", "d", "--listen", "127.0.0.1:0"]).unwrap();
        assert!(cli.command.is_none());
        let spelled =
            Cli::try_parse_from(["larder", "serve", "--data", "d", "--listen", "127.0.0.1:0"]).unwrap();
        let Some(Command::Serve(args)) = spelled.command else {
            panic!("{spelled:?}");
        };
        assert_eq!(cli.serve, args);
    }

    #[test]
    fn wrong_usage_has_code_2_and_help_has_0() {
        for wrong in [
            &["larder", "sevre"][..],
            &["larder", "--listne", "x"],
            &["larder", "--listen"],
            &["larder", "account"],
            &["larder", "account", "password"],
            &["larder", "--data", "d", "check-config"],
            &["larder", "check-config", "--listen", "127.0.0.1:0"],
        ] {
            assert_eq!(
                Cli::try_parse_from(wrong).unwrap_err().exit_code(),
                2,
                "{wrong:?}"
            );
        }
        assert_eq!(
            Cli::try_parse_from(["larder", "--help"]).unwrap_err().exit_code(),
            0
        );
        assert_eq!(
            Cli::try_parse_from(["larder", "--version"])
                .unwrap_err()
                .exit_code(),
            0
        );
    }

    #[test]
    fn help_names_subcommands_layers_and_exit_codes() {
        let help = Cli::command().render_long_help().to_string();
        // It is wrapped to the width of the terminal.
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "serve",
            "config",
            "check-config",
            "reload",
            "healthcheck",
            "completions",
            "man",
            "rebuild-index",
            "account",
            "gc",
            "stats",
            "verify",
            "backup",
            "monitoring",
            "restore",
            "LARDER__STORE__DATA",
            "Exit codes: 0 done",
            "3 the store is in use",
        ] {
            assert!(help.contains(part), "{part}\n{help}");
        }
    }
}
