//! Lists of entity tags as `If-Match` and `If-None-Match` bring them (RFC 9110 §8.8.3, §13.1).

use crate::chunk::Digest;

/// The tag of a file with this digest, alone.
#[cfg(test)]
pub fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// One entity tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag<'a> {
    /// Whether it has the prefix `W/`.
    pub weak: bool,
    /// What is between the quotes.
    pub opaque: &'a str,
}

/// The value of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagList<'a> {
    /// `*`
    Any,
    /// At least one tag.
    Tags(Vec<Tag<'a>>),
}

impl<'a> Tag<'a> {
    /// The text as one tag and nothing else.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (tag, rest) = split_tag(text)?;
        rest.is_empty().then_some(tag)
    }

    /// The digest that we would give this tag to. Tags are compared byte by byte, so capitals are not ours.
    pub fn digest(self) -> Option<Digest> {
        let digest: Digest = self.opaque.parse().ok()?;
        (digest.to_string() == self.opaque).then_some(digest)
    }
}

impl<'a> TagList<'a> {
    /// The value of a header, several lines of it joined with commas. `None` when it is malformed.
    pub fn parse(value: &'a str) -> Option<Self> {
        let mut rest = value.trim_matches(BLANK);
        if rest == "*" {
            return Some(TagList::Any);
        }
        let mut tags = Vec::new();
        // RFC 9110 §5.6.1.2: a recipient takes empty list elements for nothing.
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                break;
            }
            let (tag, after) = split_tag(rest)?;
            tags.push(tag);
            rest = after.trim_start_matches(BLANK);
            if !rest.is_empty() && !rest.starts_with(',') {
                return None;
            }
        }
        (!tags.is_empty()).then_some(TagList::Tags(tags))
    }

    /// Strong comparison with the file that is there: a weak tag equals nothing.
    pub fn contains_strong(&self, digest: &Digest) -> bool {
        match self {
            TagList::Any => true,
            TagList::Tags(tags) => tags.iter().any(|tag| !tag.weak && tag.digest() == Some(*digest)),
        }
    }

    /// Weak comparison with the file that is there.
    pub fn contains_weak(&self, digest: &Digest) -> bool {
        match self {
            TagList::Any => true,
            TagList::Tags(tags) => tags.iter().any(|tag| tag.digest() == Some(*digest)),
        }
    }
}

const BLANK: [char; 2] = [' ', '\t'];

/// The tag that the text starts with, and what comes after it.
fn split_tag(text: &str) -> Option<(Tag<'_>, &str)> {
    let (weak, quoted) = match text.strip_prefix("W/") {
        Some(quoted) => (true, quoted),
        None => (false, text),
    };
    let (opaque, rest) = quoted.strip_prefix('"')?.split_once('"')?;
    let well_formed = opaque.chars().all(|c| c.is_ascii_graphic() || !c.is_ascii());
    well_formed.then_some((Tag { weak, opaque }, rest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn strong(opaque: &str) -> Tag<'_> {
        Tag { weak: false, opaque }
    }

    fn weak(opaque: &str) -> Tag<'_> {
        Tag { weak: true, opaque }
    }

    #[test]
    fn lists_are_read() {
        let table = [
            (r#""a""#, vec![strong("a")]),
            (r#"W/"a""#, vec![weak("a")]),
            (r#""a","b""#, vec![strong("a"), strong("b")]),
            (r#" "a" , ,, W/"b" ,"#, vec![strong("a"), weak("b")]),
            (r#""a,b""#, vec![strong("a,b")]),
            (r#""*""#, vec![strong("*")]),
            (r#""""#, vec![strong("")]),
            (r#""é""#, vec![strong("é")]),
        ];
        for (value, tags) in table {
            assert_eq!(TagList::parse(value), Some(TagList::Tags(tags)), "{value}");
        }
        assert_eq!(TagList::parse(" * "), Some(TagList::Any));
    }

    #[test]
    fn malformed_lists_are_not() {
        let malformed = [
            "",
            ",",
            "a",
            r#""a"#,
            r#"a""#,
            r#""a" "b""#,
            r#""a"b"#,
            r#"w/"a""#,
            r#"W/ "a""#,
            r#""a b""#,
            "\"a\tb\"",
            "*,*",
            r#"*, "a""#,
            r#""a", *"#,
        ];
        for value in malformed {
            assert_eq!(TagList::parse(value), None, "{value}");
        }
    }

    #[test]
    fn only_the_form_we_send_is_ours() {
        let digest = Digest::of(b"a");
        let text = digest.to_string();
        assert_eq!(strong(&text).digest(), Some(digest));
        assert_eq!(strong(&text.to_uppercase()).digest(), None);
        assert_eq!(strong(&text[1..]).digest(), None);
        assert_eq!(strong("").digest(), None);
    }

    #[test]
    fn comparisons() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let both = format!("\"x\", {}, W/{}", etag(&a), etag(&b));
        let both = TagList::parse(&both).unwrap();
        assert!(both.contains_strong(&a) && both.contains_weak(&a));
        assert!(!both.contains_strong(&b) && both.contains_weak(&b));
        assert!(!both.contains_weak(&Digest::of(b"c")));
        assert!(TagList::Any.contains_strong(&a) && TagList::Any.contains_weak(&a));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(value in prop_oneof![any::<String>(), "[*W/\", a]{0,20}"]) {
            if let Some(TagList::Tags(tags)) = TagList::parse(&value) {
                prop_assert!(!tags.is_empty());
                prop_assert!(tags.iter().all(|tag| !tag.opaque.contains(['"', ' '])));
            }
        }

        #[test]
        fn a_list_that_was_written_out_is_read_back(
            tags in prop::collection::vec((any::<bool>(), "[!#-~]{0,8}"), 1..6),
            separator in "[ \t]{0,2},[ \t,]{0,3}",
        ) {
            let texts: Vec<_> =
                tags.iter().map(|(weak, opaque)| format!("{}\"{opaque}\"", if *weak { "W/" } else { "" })).collect();
            let expected = tags.iter().map(|(weak, opaque)| Tag { weak: *weak, opaque }).collect();
            let value = texts.join(&separator);
            prop_assert_eq!(TagList::parse(&value), Some(TagList::Tags(expected)));
        }

        #[test]
        fn our_tag_names_its_digest(bytes: [u8; 32]) {
            let digest = Digest::from(bytes);
            let text = etag(&digest);
            prop_assert_eq!(text.len(), 66);
            prop_assert_eq!(Tag::parse(&text).unwrap().digest(), Some(digest));
        }
    }
}
