//! `larder completions` and `larder man`: from the definition of the command line, so that they are always right.

use std::io::Write;
use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;

use super::failure::Failure;
use super::output;

/// Print a completion script for a shell
#[derive(Clone, Debug, clap::Args)]
pub struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    /// Prints it.
    pub fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "larder", &mut script);
        output::stdout().write_all(&script).map_err(Failure::failed)
    }
}

/// Print the manual page, or write it and one for each subcommand to a directory
#[derive(Clone, Debug, clap::Args)]
pub struct Man {
    /// Where to write larder.1, larder-serve.1 and so on; created when absent
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Man {
    /// Prints or writes.
    pub fn run(self) -> Result<(), Failure> {
        let command = super::Cli::command();
        let written = match self.directory {
            Some(directory) => std::fs::create_dir_all(&directory)
                .and_then(|()| clap_mangen::generate_to(command, &directory)),
            None => clap_mangen::Man::new(command).render(&mut output::stdout()),
        };
        written.map_err(Failure::failed)
    }
}
