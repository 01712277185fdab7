//! stub
use super::*;
pub async fn first_account(_s: &Store, _d: &Path) -> Result<SignIn, Error> {
    Ok(SignIn::Known)
}
