//! What a token may be used for.

use std::fmt;

/// A bit set of scopes, as stored with a token. Bits are never given a second meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(pub u32);

/// Names of scopes that make no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// A name that means nothing here.
    #[error("unknown scope: {0:?}; there are read:package, write:package, all, admin and public-only")]
    Unknown(String),
    /// No name, or only the modifier: the token could do nothing.
    #[error("a token needs at least one of the scopes read:package, write:package, all and admin")]
    None,
}

/// Every name with its bit.
const NAMES: [(&str, Scopes); 5] = [
    ("all", Scopes::ALL),
    ("read:package", Scopes::READ_PACKAGE),
    ("write:package", Scopes::WRITE_PACKAGE),
    ("admin", Scopes::ADMIN),
    ("public-only", Scopes::PUBLIC_ONLY),
];

impl Scopes {
    /// `read:package`: download.
    pub const READ_PACKAGE: Scopes = Scopes(1);
    /// `write:package`: publish and remove, and download.
    pub const WRITE_PACKAGE: Scopes = Scopes(1 << 1);
    /// `admin`: administration, for tokens of admins.
    pub const ADMIN: Scopes = Scopes(1 << 2);
    /// `all`: every scope there is or will be; what a password has.
    pub const ALL: Scopes = Scopes(1 << 3);
    /// `public-only`: a modifier that takes away every owner that is not public.
    pub const PUBLIC_ONLY: Scopes = Scopes(1 << 4);

    /// Reads names as they come over the API. Repeated names are fine.
    pub fn from_names<S: AsRef<str>>(names: &[S]) -> Result<Self, ScopeError> {
        let mut scopes = Scopes(0);
        for name in names {
            let name = name.as_ref();
            let known = NAMES.iter().find(|(known, _)| *known == name);
            let (_, bit) = known.ok_or_else(|| ScopeError::Unknown(name.to_owned()))?;
            scopes.0 |= bit.0;
        }
        if scopes.0 & !Self::PUBLIC_ONLY.0 == 0 {
            return Err(ScopeError::None);
        }
        Ok(scopes)
    }

    /// The names, without those that others imply.
    pub fn names(self) -> Vec<&'static str> {
        let mut named = self;
        if self.has(Self::ALL) {
            named.0 &= Self::ALL.0 | Self::PUBLIC_ONLY.0;
        }
        if self.has(Self::WRITE_PACKAGE) {
            named.0 &= !Self::READ_PACKAGE.0;
        }
        let named = NAMES.iter().filter(|(_, bit)| named.has(*bit));
        named.map(|(name, _)| *name).collect()
    }

    /// Whether packages may be downloaded.
    pub fn reads_packages(self) -> bool {
        self.has(Self::READ_PACKAGE) || self.writes_packages()
    }

    /// Whether packages may be published and removed.
    pub fn writes_packages(self) -> bool {
        self.has(Self::WRITE_PACKAGE) || self.has(Self::ALL)
    }

    /// Whether an admin may administer.
    pub fn administers(self) -> bool {
        self.has(Self::ADMIN) || self.has(Self::ALL)
    }

    /// Whether it is everything that the account may do.
    pub fn is_all(self) -> bool {
        self.has(Self::ALL)
    }

    /// Whether only public owners may be touched.
    pub fn is_public_only(self) -> bool {
        self.has(Self::PUBLIC_ONLY)
    }

    fn has(self, bit: Scopes) -> bool {
        self.0 & bit.0 != 0
    }
}

/// The names, separated by commas.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(","))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_say_what_a_token_may_do() {
        //   names                            read  write  admin  public-only
        let table: [(&[&str], [bool; 4]); 7] = [
            (&["read:package"], [true, false, false, false]),
            (&["write:package"], [true, true, false, false]),
            (&["admin"], [false, false, true, false]),
            (&["all"], [true, true, true, false]),
            (&["all", "public-only"], [true, true, true, true]),
            (&["public-only", "read:package"], [true, false, false, true]),
            (&["read:package", "admin"], [true, false, true, false]),
        ];
        for (names, expected) in table {
            let scopes = Scopes::from_names(names).unwrap();
            let found = [
                scopes.reads_packages(),
                scopes.writes_packages(),
                scopes.administers(),
                scopes.is_public_only(),
            ];
            assert_eq!(found, expected, "{names:?}");
        }
    }

    #[test]
    fn names_that_make_no_token_are_errors() {
        assert_eq!(Scopes::from_names::<&str>(&[]), Err(ScopeError::None));
        assert_eq!(Scopes::from_names(&["public-only"]), Err(ScopeError::None));
        for unknown in ["", "ALL", "read:repository", "all ", "read:package,write:package"] {
            let error = Scopes::from_names(&["all", unknown]).unwrap_err();
            assert_eq!(error, ScopeError::Unknown(unknown.to_owned()));
        }
    }

    #[test]
    fn shown_names_are_minimal_and_read_back_to_the_same_rights() {
        let shown = |names: &[&str]| Scopes::from_names(names).unwrap().to_string();
        assert_eq!(shown(&["read:package", "all", "admin"]), "all");
        assert_eq!(shown(&["read:package", "write:package"]), "write:package");
        assert_eq!(
            shown(&["public-only", "admin", "read:package"]),
            "read:package,admin,public-only"
        );
        for bits in 1..32 {
            let scopes = Scopes(bits);
            if let Ok(again) = Scopes::from_names(&scopes.names()) {
                assert_eq!(again.reads_packages(), scopes.reads_packages(), "{bits:b}");
                assert_eq!(again.writes_packages(), scopes.writes_packages(), "{bits:b}");
                assert_eq!(again.administers(), scopes.administers(), "{bits:b}");
                assert_eq!(again.is_public_only(), scopes.is_public_only(), "{bits:b}");
            } else {
                assert_eq!(scopes, Scopes::PUBLIC_ONLY);
            }
        }
    }

    #[test]
    fn stored_bits_keep_their_meaning() {
        let bits = NAMES.map(|(name, bit)| (name, bit.0));
        assert_eq!(
            bits,
            [
                ("all", 8),
                ("read:package", 1),
                ("write:package", 2),
                ("admin", 4),
                ("public-only", 16)
            ]
        );
    }
}
