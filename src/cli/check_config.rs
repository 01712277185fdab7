//! `larder check-config`.

use std::io::{self, Write};

use super::failure::Failure;
use super::store_args::StoreArgs;
use crate::config::Config;

/// Check the configuration; show every setting and where it comes from
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    store: StoreArgs,
}

impl Args {
    /// Checks and shows.
    pub fn run(self) -> Result<(), Failure> {
        let config = self.store.load(Vec::new())?;
        show(&config, &mut io::stdout().lock()).map_err(Failure::failed)
    }
}

fn show(config: &Config, out: &mut impl Write) -> io::Result<()> {
    let width = config.effective.keys().map(String::len).max().unwrap_or(0);
    for (key, (place, value)) in &config.effective {
        writeln!(out, "{key:width$} = {value}  ({place})")?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn each_setting_is_shown_with_its_place() {
        let config = load(&Sources {
            environment: vec![("LARDER__SERVER__WORKERS".into(), "2".into())],
            ..Sources::default()
        });
        let mut out = Vec::new();
        show(&config.unwrap(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("server.listen ") && text.contains("= 127.0.0.1:3000  (built-in default)\n"),
            "{text}"
        );
        assert!(
            text.contains("= 2  (environment variable LARDER__SERVER__WORKERS)\n"),
            "{text}"
        );
    }
}
