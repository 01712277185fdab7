//! Walks over what is stored, step by step on threads that may block.

use crate::store::error::StoreError;

/// Takes a step of a walk on a thread that may block; the walk comes back.
///
/// # Errors
/// `Io` where no such thread is to be had, as at shutdown.
pub async fn step<W: Send + 'static, T: Send + 'static>(
    mut walk: W,
    step: impl FnOnce(&mut W) -> T + Send + 'static,
) -> Result<(W, T), StoreError> {
    let stepped = actix_rt::task::spawn_blocking(move || {
        let taken = step(&mut walk);
        (walk, taken)
    });
    let stepped = stepped.await;
    stepped.map_err(|error| StoreError::Io(std::io::Error::other(error)))
}
