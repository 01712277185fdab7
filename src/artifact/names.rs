//! Names of packages, versions and files (API.md §1, Names).

use crate::owner::names::FileName;

/// Longest name, in bytes.
const MAX_LEN: usize = 255;

/// Where a file lives under its owner: decoded, in the client's spelling, not validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coordinates {
    /// Package name.
    pub package: String,
    /// Version.
    pub version: String,
    /// File name.
    pub file: String,
}

/// Which name breaks the rules. The texts are Gitea's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The package name.
    #[error("invalid package name")]
    Package,
    /// The version.
    #[error("invalid package version")]
    Version,
    /// The file name.
    #[error("invalid filename")]
    File,
}

impl Coordinates {
    /// Package, version and file.
    pub fn parts(&self) -> [&str; 3] {
        [&self.package, &self.version, &self.file]
    }

    /// Checks all three names, in the order package, file, version.
    pub fn validate(&self) -> Result<(), NameError> {
        if !is_package_name(&self.package) {
            return Err(NameError::Package);
        }
        if !is_file_name(&self.file) {
            return Err(NameError::File);
        }
        if !is_version(&self.version) {
            return Err(NameError::Version);
        }
        Ok(())
    }
}

impl From<Coordinates> for FileName {
    fn from(at: Coordinates) -> Self {
        FileName {
            package: at.package,
            version: at.version,
            file: at.file,
        }
    }
}

fn is_package_name(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_+.".contains(&b);
    match name.as_bytes() {
        [single] => single.is_ascii_alphanumeric(),
        bytes => fits(name) && name != ".." && bytes.iter().all(|b| legal(*b)),
    }
}

fn is_file_name(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_+=:;.()[]{}~!@#$%^& `".contains(&b);
    fits(name)
        && name != "."
        && name != ".."
        && !name.starts_with(' ')
        && !name.ends_with(' ')
        && name.bytes().all(legal)
}

fn is_version(version: &str) -> bool {
    fits(version)
        && !["-", ".", ".."].contains(&version)
        && version.trim() == version
        && !version.contains(char::is_control)
}

fn fits(name: &str) -> bool {
    (1..=MAX_LEN).contains(&name.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn package_names() {
        for good in [
            "a",
            "7",
            "ab",
            "...",
            "-a",
            "a-",
            "++",
            "A_b.c+d-e",
            &"p".repeat(255),
        ] {
            assert!(is_package_name(good), "{good:?}");
        }
        for bad in [
            "",
            ".",
            "-",
            "_",
            "+",
            "..",
            "a b",
            "a/b",
            "a%",
            "ä",
            "a\0",
            &"p".repeat(256),
        ] {
            assert!(!is_package_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn file_names() {
        for good in [
            "a",
            "-",
            "...",
            "a b",
            "-_+=:;.()[]{}~!@#$%^& `x",
            &"f".repeat(255),
        ] {
            assert!(is_file_name(good), "{good:?}");
        }
        for bad in [
            "",
            ".",
            "..",
            " a",
            "a ",
            " ",
            "a/b",
            "a\\b",
            "a*",
            "ä",
            "a\tb",
            &"f".repeat(256),
        ] {
            assert!(!is_file_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn versions() {
        for good in [
            "1",
            "1.0/rc 1",
            "--",
            "größe",
            "%2F",
            "a\u{a0}b",
            &"ö".repeat(127),
        ] {
            assert!(is_version(good), "{good:?}");
        }
        for bad in [
            "",
            "-",
            " 1",
            "1 ",
            "\u{2003}1",
            "1\u{a0}",
            "a\nb",
            "a\u{7f}",
            "a\u{85}b",
            &"ö".repeat(128),
        ] {
            assert!(!is_version(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_order_is_package_file_version() {
        let at = |package: &str, version: &str, file: &str| Coordinates {
            package: package.into(),
            version: version.into(),
            file: file.into(),
        };
        assert_eq!(at("", "", "").validate(), Err(NameError::Package));
        assert_eq!(at("a", "", "").validate(), Err(NameError::File));
        assert_eq!(at("a", "", "f").validate(), Err(NameError::Version));
        assert_eq!(at("a", "1", "f").validate(), Ok(()));
    }

    proptest! {
        #[test]
        fn package_names_of_legal_characters_pass(name in "[-_+.A-Za-z0-9]{2,255}") {
            prop_assert_eq!(is_package_name(&name), name != "..");
        }

        #[test]
        fn file_names_of_legal_characters_pass(
            name in "[-_+=:;.()\\[\\]{}~!@#$%^&`A-Za-z0-9][-_+=:;.()\\[\\]{}~!@#$%^& `A-Za-z0-9]{0,252}[a-z]"
        ) {
            prop_assert!(is_file_name(&name));
        }

        #[test]
        fn one_foreign_character_spoils_a_name(
            before in "[a-z]{0,9}",
            foreign in "[^-_+=:;.()\\[\\]{}~!@#$%^& `A-Za-z0-9]",
            after in "[a-z]{0,9}",
        ) {
            let name = format!("{before}{foreign}{after}");
            prop_assert!(!is_package_name(&name));
            prop_assert!(!is_file_name(&name));
        }

        #[test]
        fn whatever_is_no_control_and_no_outer_space_is_a_version(
            version in "[\\PC&&\\S][\\PC]{0,40}[\\PC&&\\S]"
        ) {
            let fits = version.trim() == version && version.len() <= 255 && version != "..";
            prop_assert_eq!(is_version(&version), fits);
        }

        #[test]
        fn no_name_panics(package in ".*", version in ".*", file in ".*") {
            let at = Coordinates { package, version, file };
            let expected = if !is_package_name(&at.package) {
                Err(NameError::Package)
            } else if !is_file_name(&at.file) {
                Err(NameError::File)
            } else if !is_version(&at.version) {
                Err(NameError::Version)
            } else {
                Ok(())
            };
            prop_assert_eq!(at.validate(), expected);
        }
    }
}
