//! The flags of every command that works on a store.

use std::path::{Path, PathBuf};

use super::failure::Failure;
use crate::config::{self, Config, ConfigError, Flag, Sources};

/// Which configuration, which store.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct StoreArgs {
    /// Configuration file; else the one that the variable LARDER_CONFIG names; else none
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Data directory (store.data)
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

impl StoreArgs {
    /// The configuration, with these and `more` flags on top.
    pub fn load(self, more: Vec<Flag>) -> Result<Config, ConfigError> {
        let mut flags = more;
        flags.extend(self.data.map(|data| Flag {
            name: "--data",
            key: "store.data",
            value: data.into(),
        }));
        config::load(&Sources::of_process(self.config, flags))
    }
}

/// Refuses a directory that holds no store, so that a mistyped `--data` does not create one.
pub fn must_exist(data: &Path) -> Result<(), Failure> {
    match data.join("store.toml").try_exists() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::Failed(format!(
            "there is no store in {}",
            data.display()
        ))),
        Err(error) => Err(Failure::Failed(format!("{}: {error}", data.display()))),
    }
}
