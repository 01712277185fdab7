//! Where a new password comes from.

use std::io::{self, BufRead, IsTerminal};

use crate::cli::failure::Failure;

/// A line with a password is not longer than this, bytes.
const MAX_LINE: u64 = 4096;

/// Where a new password is to come from.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// It is made here.
    Random,
    /// Somebody says it: twice on a terminal, once anywhere else.
    Told,
}

impl Wanted {
    /// What the flag `--generate` says.
    pub fn of(generate: bool) -> Self {
        match generate {
            true => Wanted::Random,
            false => Wanted::Told,
        }
    }

    /// The password, and again if it was made here and has to be shown.
    pub fn get(self) -> Result<(String, Option<String>), Failure> {
        match self {
            Wanted::Random => {
                let password = random()?;
                Ok((password.clone(), Some(password)))
            }
            Wanted::Told => Ok((read()?, None)),
        }
    }
}

/// A password of 128 random bits.
fn random() -> Result<String, Failure> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(Failure::failed)?;
    Ok(hex::encode(bits))
}

/// Twice from a terminal, once from anything else.
fn read() -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return first_line(io::stdin().lock());
    }
    let ask = |prompt| rpassword::prompt_password(prompt).map_err(Failure::failed);
    let password = ask("New password: ")?;
    match ask("Again: ")? == password {
        true => Ok(password),
        false => Err(Failure::Failed("the passwords differ".to_owned())),
    }
}

/// The first line, without its end.
fn first_line(input: impl BufRead) -> Result<String, Failure> {
    let mut line = String::new();
    input
        .take(MAX_LINE)
        .read_line(&mut line)
        .map_err(Failure::failed)?;
    match line.strip_suffix('\n') {
        None if line.is_empty() => Err(Failure::Usage("stdin has no line with the password".to_owned())),
        None if line.len() as u64 == MAX_LINE => {
            Err(Failure::Usage("the line on stdin is too long".to_owned()))
        }
        Some(line) => Ok(line.strip_suffix('\r').unwrap_or(line).to_owned()),
        None => Ok(line),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_first_line() {
        assert_eq!(
            first_line(&b"correct horse\nmore\n"[..]).unwrap(),
            "correct horse"
        );
        assert_eq!(first_line(&b"correct horse\r\n"[..]).unwrap(), "correct horse");
        assert_eq!(first_line(&b" spaces stay "[..]).unwrap(), " spaces stay ");
        assert!(matches!(first_line(&b""[..]), Err(Failure::Usage(_))));
        assert!(matches!(first_line(&[b'x'; 5000][..]), Err(Failure::Usage(_))));
        assert!(matches!(first_line(&b"\xff\n"[..]), Err(Failure::Failed(_))));
    }
}
