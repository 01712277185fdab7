//! What is taken for an e-mail address: what web forms take, which is less than RFC 5322 has. No mail is sent there.

/// Longest address in bytes (RFC 5321).
const MAX_LEN: usize = 254;

/// Why something is no e-mail address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEmail {
    /// Longer than any address.
    #[error("an e-mail address has at most {MAX_LEN} bytes, not {given}")]
    Long {
        /// How long it is.
        given: usize,
    },
    /// Not `name@domain`.
    #[error("an e-mail address is written name@domain in ASCII, without spaces, unlike {0:?}")]
    Form(String),
}

/// Whether an address may be set: empty, or `name@domain`.
pub(super) fn check(address: &str) -> Result<(), BadEmail> {
    if address.len() > MAX_LEN {
        let given = address.len();
        return Err(BadEmail::Long { given });
    }
    let fits = |(name, domain): (&str, &str)| is_name(name) && domain.split('.').all(is_label);
    match address.is_empty() || address.split_once('@').is_some_and(fits) {
        true => Ok(()),
        false => Err(BadEmail::Form(address.to_owned())),
    }
}

/// What may stand before the `@`. A leading dash would be taken for an option by mail programs.
fn is_name(name: &str) -> bool {
    let special = |byte: u8| b".!#$%&'*+/=?^_`{|}~-".contains(&byte);
    let known = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || special(byte));
    known && !name.is_empty() && !name.starts_with('-')
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_other_texts() {
        for good in [
            "",
            "ann@example.org",
            "a.b+c@localhost",
            "o'neil@xn--bcher-kva.example",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "not-an-email",
            "@example.org",
            "ann@",
            "ann@example..org",
            "ann@.org",
            "-ann@example.org",
            "a@b@c",
            "a b@example.org",
            "ann@exam ple.org",
            "ann@example.org\n",
            "Ann <ann@example.org>",
            "änn@example.org",
        ] {
            assert_eq!(check(bad), Err(BadEmail::Form(bad.to_owned())), "{bad:?}");
        }
        let long = format!("ann@{}", "a".repeat(251));
        assert_eq!(check(&long), Err(BadEmail::Long { given: 255 }));
    }
}
