//! The `Content-Disposition` that gives a download its name (RFC 6266).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All but the attr-char of RFC 8187 §3.2.1.
const EXTENDED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// To be saved under this name.
///
/// Control characters become `_`. Names are ASCII (API.md §1); one that is not gets both a name in ASCII, with `_` for
/// what is not, and its full name.
pub fn attachment(file_name: &str) -> String {
    // Nearly every name.
    if is_token(file_name) {
        return ["attachment; filename=", file_name].concat();
    }
    let name = file_name.replace(char::is_control, "_");
    let ascii = name.replace(|c: char| !c.is_ascii(), "_");
    let mut value = String::from("attachment; filename=");
    if is_token(&ascii) {
        value.push_str(&ascii);
    } else {
        value.push('"');
        value.push_str(&ascii.replace('\\', r"\\").replace('"', "\\\""));
        value.push('"');
    }
    if name != ascii {
        value.push_str("; filename*=UTF-8''");
        value.extend(utf8_percent_encode(&name, EXTENDED));
    }
    value
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_tchar)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names() {
        let table = [
            ("a.bin", "filename=a.bin"),
            ("a+b~1_2-3.tar.gz", "filename=a+b~1_2-3.tar.gz"),
            ("a b", r#"filename="a b""#),
            ("a;b=c", r#"filename="a;b=c""#),
            (r#"a"b\c"#, r#"filename="a\"b\\c""#),
            ("(1)[2]{3}", r#"filename="(1)[2]{3}""#),
            ("", r#"filename="""#),
            ("a\r\nb\0\x7f", "filename=a__b__"),
            ("né.bin", "filename=n_.bin; filename*=UTF-8''n%C3%A9.bin"),
            (
                "é 'x'*%",
                r#"filename="_ 'x'*%"; filename*=UTF-8''%C3%A9%20%27x%27%2A%25"#,
            ),
            ("é\u{85}\n", "filename=___; filename*=UTF-8''%C3%A9__"),
        ];
        for (name, expected) in table {
            assert_eq!(attachment(name), format!("attachment; {expected}"), "{name:?}");
        }
    }

    /// What a client makes of a quoted string or a token.
    fn unquote(value: &str) -> String {
        let Some(quoted) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
            return value.to_owned();
        };
        let (mut name, mut chars) = (String::new(), quoted.chars());
        while let Some(c) = chars.next() {
            assert_ne!(c, '"', "an end before the end");
            name.push(if c == '\\' { chars.next().unwrap() } else { c });
        }
        name
    }

    proptest! {
        #[test]
        fn any_name_makes_a_header_value(name in any::<String>()) {
            let value = attachment(&name);
            prop_assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{value:?}");
        }

        #[test]
        fn an_ascii_name_comes_back(name in "[ -~]{0,30}") {
            let value = attachment(&name);
            prop_assert_eq!(unquote(value.strip_prefix("attachment; filename=").unwrap()), name);
        }

        #[test]
        fn a_full_name_comes_back(name in "[ -~]{0,10}[à-ö]{1,5}[ -~]{0,10}") {
            let value = attachment(&name);
            let (_, extended) = value.rsplit_once("; filename*=UTF-8''").unwrap();
            let decoded = percent_encoding::percent_decode_str(extended).decode_utf8().unwrap();
            prop_assert_eq!(decoded, name);
        }
    }
}
