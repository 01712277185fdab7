//! Through the daemon if one runs, else in the store itself.

use crate::access::Access;
use crate::artifact::Artifacts;
use crate::cli::audit;
use crate::cli::failure::Failure;
use crate::cli::progress::Bar;
use crate::config::Config;
use crate::daemon::accounts::{Answer, Desk, Request};
use crate::daemon::control::{self, AskError, Response};
use crate::store::Store;

/// Has it done.
pub fn ask(config: Config, request: Request) -> Result<Answer, Failure> {
    let asked = control::Request::Accounts {
        request: request.clone(),
    };
    match control::ask(&config.store.data, &asked) {
        Ok(Response::Accounts { answer }) => Ok(answer),
        Ok(Response::Failed { message }) => Err(Failure::Failed(message)),
        Ok(other) => Err(Failure::Failed(format!(
            "the daemon gave an answer that does not fit: {other:?}"
        ))),
        Err(AskError::NotRunning) => in_store(config, request),
        Err(error) => Err(Failure::failed(error)),
    }
}

fn in_store(config: Config, request: Request) -> Result<Answer, Failure> {
    let audit = audit::open(&config.audit)?;
    let bar = Bar::new("replaying the log");
    let store = Store::open(config.store, &bar)?;
    bar.finish();
    // Packages that go with their owner are removed by actors.
    let answer = actix_rt::System::new().block_on(async {
        let desk = Desk {
            access: Access::new(store.clone()),
            artifacts: Artifacts::new(store.clone(), config.artifact),
            audit: audit.clone(),
        };
        desk.perform(request).await.map_err(Failure::Failed)
    });
    store.close();
    if let Some(audit) = audit {
        audit.close();
    }
    answer
}
