//! `larder check-config`.

use std::io::Write;

use super::failure::Failure;
use super::output;
use super::store_args::StoreArgs;
use crate::http::Identity;

/// Check the configuration and the files it names; says what is wrong and where, or that it is good
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    store: StoreArgs,
}

impl Args {
    /// Checks.
    pub fn run(self) -> Result<(), Failure> {
        let config = self.store.load(Vec::new())?;
        if let Some(files) = &config.tls {
            Identity::load(&files.certificate, &files.key)
                .map_err(|error| Failure::Usage(error.to_string()))?;
        }
        writeln!(
            output::stdout(),
            "the configuration is good; 'larder config' shows it"
        )
        .map_err(Failure::failed)
    }
}
