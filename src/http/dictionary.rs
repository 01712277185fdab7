//! Dictionaries of structured fields, as far as digests need them (RFC 9651 §3.2, RFC 9530).

/// A member's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// The base64 between the colons, not yet decoded.
    Bytes(&'a str),
    /// Anything else.
    Other,
}

/// The members of a dictionary, in order, a key perhaps more than once. `None` when it is malformed.
///
/// Values other than byte sequences are only read as far as it takes to find their end, and parameters are dropped.
pub fn parse(text: &str) -> Option<Vec<(&str, Value<'_>)>> {
    let mut scanner = Scanner {
        rest: text.trim_matches(' '),
    };
    let mut members = Vec::new();
    if scanner.rest.is_empty() {
        return Some(members);
    }
    loop {
        let key = scanner.key()?;
        let value = if scanner.takes('=') {
            scanner.value()?
        } else {
            Value::Other
        };
        scanner.parameters()?;
        members.push((key, value));
        scanner.skip(&[' ', '\t']);
        if scanner.rest.is_empty() {
            return Some(members);
        }
        if !scanner.takes(',') {
            return None;
        }
        scanner.skip(&[' ', '\t']);
    }
}

/// What is left to read.
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn skip(&mut self, chars: &[char]) {
        self.rest = self.rest.trim_start_matches(chars);
    }

    /// Whether the next character is this one, which is then read.
    fn takes(&mut self, c: char) -> bool {
        let after = self.rest.strip_prefix(c);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    /// The characters up to the first that does not belong; `None` if that is none.
    fn run(&mut self, belongs: impl Fn(char) -> bool) -> Option<&'a str> {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!run.is_empty()).then_some(run)
    }

    fn key(&mut self) -> Option<&'a str> {
        if !self
            .rest
            .starts_with(|c: char| c.is_ascii_lowercase() || c == '*')
        {
            return None;
        }
        self.run(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.*".contains(c))
    }

    fn value(&mut self) -> Option<Value<'a>> {
        if self.takes('(') {
            self.inner_list()?;
            Some(Value::Other)
        } else {
            self.item()
        }
    }

    /// The rest of an inner list. Such lists do not nest.
    fn inner_list(&mut self) -> Option<()> {
        loop {
            self.skip(&[' ']);
            if self.takes(')') {
                return Some(());
            }
            self.item()?;
            self.parameters()?;
            if !self.rest.starts_with([' ', ')']) {
                return None;
            }
        }
    }

    fn parameters(&mut self) -> Option<()> {
        while self.takes(';') {
            self.skip(&[' ']);
            self.key()?;
            if self.takes('=') {
                self.item()?;
            }
        }
        Some(())
    }

    fn item(&mut self) -> Option<Value<'a>> {
        if self.takes(':') {
            let (base64, rest) = self.rest.split_once(':')?;
            self.rest = rest;
            return Some(Value::Bytes(base64));
        }
        if self.takes('"') {
            self.string()?;
        } else {
            // Numbers, tokens, booleans and dates: none of them contains what may follow it.
            self.run(|c| c.is_ascii_graphic() && !",;()\"".contains(c))?;
        }
        Some(Value::Other)
    }

    /// The rest of a string, its closing quote included.
    fn string(&mut self) -> Option<()> {
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(());
                }
                '\\' => {
                    chars.next().filter(|(_, c)| matches!(c, '"' | '\\'))?;
                }
                ' '..='~' => {}
                _ => return None,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::Value::{Bytes, Other};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dictionaries_are_read() {
        let table = [
            ("", vec![]),
            ("  ", vec![]),
            ("a=:YWJj:", vec![("a", Bytes("YWJj"))]),
            (
                "sha-256=:YQ==:, sha-512=:Yg==:",
                vec![("sha-256", Bytes("YQ==")), ("sha-512", Bytes("Yg=="))],
            ),
            (
                "a=:YQ==:;p;q=1;r=\"x,y\" \t,\tb=:Yg==:",
                vec![("a", Bytes("YQ==")), ("b", Bytes("Yg=="))],
            ),
            ("a=::", vec![("a", Bytes(""))]),
            ("a", vec![("a", Other)]),
            (
                "a, *b=?0, c.d=-1.5, e_f=tok/en:x, g=@12",
                ["a", "*b", "c.d", "e_f", "g"].map(|key| (key, Other)).to_vec(),
            ),
            (r#"a="x, \" \\ y=:YQ==:", b=1"#, vec![("a", Other), ("b", Other)]),
            (
                r#"a=( :YQ==:;p=1  "x)" tok );q, b=()"#,
                vec![("a", Other), ("b", Other)],
            ),
            ("a=1, a=:YQ==:", vec![("a", Other), ("a", Bytes("YQ=="))]),
        ];
        for (text, members) in table {
            assert_eq!(parse(text), Some(members), "{text}");
        }
    }

    #[test]
    fn malformed_dictionaries_are_not() {
        let malformed = [
            ",",
            "a=",
            "a=:YQ==",
            "A=:YQ==:",
            "1=1",
            "a=:YQ==:,",
            "a=:YQ==:,,b",
            "a=:YQ==: b",
            "a=:YQ==:b",
            "a =1",
            "a;",
            "a;p=",
            "a=\"x",
            "a=\"\\x\"",
            "a=\"é\"",
            "a=(1",
            "a=(1,2)",
            "a=((1))",
            "é=1",
        ];
        for text in malformed {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in prop_oneof![any::<String>(), r#"[a=:;,"\\() 1é]{0,30}"#]) {
            for (key, _) in parse(&text).unwrap_or_default() {
                prop_assert!(!key.is_empty() && text.contains(key));
            }
        }
    }
}
