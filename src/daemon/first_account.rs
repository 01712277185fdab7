//! A new store gets the account `admin`; whoever started the daemon learns its password.

use std::env;
use std::io::{self, IsTerminal};

use super::announce::SignIn;
use crate::access::{
    Access, Bootstrap, BootstrapError, Bootstrapped, PASSWORD_FILE_VARIABLE, PASSWORD_VARIABLE,
};
use crate::config::Config;
use crate::telemetry::LogFormat;

/// Makes sure that somebody can sign in.
pub async fn first_account(access: &Access, config: &Config) -> Result<SignIn, BootstrapError> {
    let given = Bootstrap {
        password: env::var_os(PASSWORD_VARIABLE),
        password_file: env::var_os(PASSWORD_FILE_VARIABLE),
        // JSON has no place for a password: it would stay in somebody's logs.
        on_terminal: io::stderr().is_terminal() && config.log.format != LogFormat::Json,
        data: config.store.data.clone(),
    };
    let done = access.bootstrap(given).await?;
    match &done {
        // The lines to paste say it.
        Bootstrapped::Shown(password) => return Ok(SignIn::Shown(password.expose().to_owned())),
        Bootstrapped::NotNew => {}
        Bootstrapped::Ignored | Bootstrapped::Given | Bootstrapped::Written(_) => tracing::info!("{done}"),
    }
    Ok(SignIn::Known)
}
