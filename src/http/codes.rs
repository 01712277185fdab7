//! The codes of refusals: for programs, each with one meaning for ever. `docs/errors.md` shows this list, and a test
//! holds it to it.

/// A kind of refusal.
#[derive(Debug)]
pub struct Code {
    /// The last part of the problem's type, and the field `code`.
    pub code: &'static str,
    /// The statuses it comes with.
    pub statuses: &'static [u16],
    /// What it is, in short: the title of the problem.
    pub title: &'static str,
    /// What to do about it.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the documentation"))]
    pub advice: &'static str,
}

/// What stands before a code in the type of a problem.
const TYPE: &str = "urn:larder:error:";

/// The type of a problem (RFC 9457).
pub fn type_of(code: &str) -> String {
    format!("{TYPE}{code}")
}

/// What a code means, in short.
pub fn title(code: &str) -> &'static str {
    find(code).map_or("Refused", |known| known.title)
}

/// Whether there is such a code with this status.
pub fn covers(code: &str, status: u16) -> bool {
    find(code).is_some_and(|known| known.statuses.contains(&status))
}

fn find(code: &str) -> Option<&'static Code> {
    CODES.iter().find(|known| known.code == code)
}

/// Every code there is, by topic.
#[rustfmt::skip]
pub const CODES: &[Code] = &[
    // Who asks, and for what.
    Code { code: "bad-credentials", statuses: &[401], title: "Wrong user name, password or token", advice: "Check the credentials; wrong ones are refused also where none are needed" },
    Code { code: "sign-in-needed", statuses: &[401], title: "Credentials are needed", advice: "Send a password or a token" },
    Code { code: "permission-denied", statuses: &[401, 403], title: "The account or token may not do this", advice: "Use a token with the scope and the packages, or ask for membership" },
    Code { code: "public-only-token", statuses: &[403], title: "The token is limited to public owners", advice: "Use another token" },
    Code { code: "inactive-account", statuses: &[401, 403], title: "The account is not active", advice: "Ask an admin" },
    Code { code: "workload-rejected", statuses: &[401], title: "The workload token is not accepted", advice: "See the detail: its claims must be those that a rule of this server wants" },
    Code { code: "issuer-unreachable", statuses: &[503], title: "The issuer of the workload token does not answer", advice: "Try again as `Retry-After` says" },
    Code { code: "metrics-token-required", statuses: &[401], title: "Metrics are guarded by a token", advice: "Send the token of `metrics.token` or `metrics.token_file`" },
    Code { code: "too-many-attempts", statuses: &[429], title: "Too many failed attempts to sign in", advice: "Wait as `Retry-After` says" },
    Code { code: "not-found", statuses: &[404], title: "Nothing is at this path", advice: "Check the URL; `/api/swagger.json` lists all" },
    Code { code: "method-not-allowed", statuses: &[405], title: "The path does not take this method", advice: "See the header `Allow`" },
    Code { code: "owner-not-found", statuses: &[404], title: "There is no such user or organisation", advice: "Check the owner in the URL" },
    // Names, headers and parameters.
    Code { code: "bad-path", statuses: &[400], title: "A broken escape in the path", advice: "Write `%` as `%25`" },
    Code { code: "invalid-package-name", statuses: &[400], title: "Not a name for a package", advice: "Letters, digits and `-_+.`, at most 255 bytes, a single character only if letter or digit" },
    Code { code: "invalid-package-version", statuses: &[400], title: "Not a name for a version", advice: "1 to 255 bytes of UTF-8 without control characters or white space at the ends, and not `-`, `.` or `..`" },
    Code { code: "invalid-filename", statuses: &[400], title: "Not a name for a file", advice: "Letters, digits, space and ``-_+=:;.()[]{}~!@#$%^&` ``, at most 255 bytes, no space at the ends" },
    Code { code: "bad-checksum-header", statuses: &[400], title: "A checksum header that cannot be understood", advice: "See the detail for the form it must have" },
    Code { code: "bad-condition", statuses: &[400], title: "A precondition that cannot be understood", advice: "`If-None-Match: *` or `If-Match: \"etag\"`" },
    Code { code: "content-range", statuses: &[400], title: "Parts of files are not taken", advice: "Send the whole file, without `Content-Range`" },
    Code { code: "range-not-satisfiable", statuses: &[416], title: "None of the ranges is in the file", advice: "See `Content-Range` for its size" },
    Code { code: "bad-field", statuses: &[400, 422], title: "A field or parameter is wrong", advice: "The message names it" },
    Code { code: "bad-policies", statuses: &[422], title: "Policies that cannot be set", advice: "The message names the entry" },
    // Bodies.
    Code { code: "body-too-large", statuses: &[413], title: "The body of a call is too large", advice: "The detail has the limit" },
    Code { code: "encoded-body", statuses: &[415], title: "The body of a call is compressed", advice: "Send the JSON without a Content-Encoding" },
    Code { code: "body-too-slow", statuses: &[408], title: "The body came too slowly", advice: "The detail has the limit; send it again" },
    Code { code: "incomplete-body", statuses: &[400], title: "The body broke off", advice: "Send it again; nothing was published" },
    Code { code: "malformed-form", statuses: &[400], title: "A form that cannot be read", advice: "Send the file itself, without a form" },
    Code { code: "no-file-in-form", statuses: &[400], title: "The form has no file", advice: "Give one part a file name" },
    Code { code: "checksum-mismatch", statuses: &[400], title: "The body does not match a checksum header", advice: "Send it again; nothing was published" },
    // What is there and what is not.
    Code { code: "version-exists", statuses: &[400], title: "The version is published already", advice: "Take a new version, or another policy" },
    Code { code: "file-exists", statuses: &[409], title: "The file is published already", advice: "Take another name, or the policy `cache`" },
    Code { code: "precondition-failed", statuses: &[412], title: "A precondition does not hold", advice: "Somebody else was faster; read it anew" },
    Code { code: "package-not-found", statuses: &[404], title: "There is no such package or version", advice: "Check the name and the version" },
    Code { code: "file-not-found", statuses: &[404], title: "The version has no such file", advice: "Check the name of the file" },
    // Limits and the state of the store.
    Code { code: "file-too-large", statuses: &[413], title: "Larger than the limit for one file", advice: "The detail has the limit" },
    Code { code: "quota-bytes", statuses: &[403], title: "The owner's quota of bytes is exceeded", advice: "Remove packages, or ask an admin for more" },
    Code { code: "quota-versions", statuses: &[403], title: "The owner's quota of versions is exceeded", advice: "Remove versions, or ask an admin for more" },
    Code { code: "no-space", statuses: &[507], title: "No space left in the store", advice: "Remove packages, or give it room; reads and removals go on" },
    Code { code: "busy", statuses: &[503], title: "Too busy", advice: "Try again after `Retry-After`; nothing was decided" },
    Code { code: "starting", statuses: &[503], title: "The store is being opened", advice: "Wait for `/readyz`" },
    Code { code: "closing", statuses: &[503], title: "The daemon is ending", advice: "Try again; it may be back soon" },
    Code { code: "index-failed", statuses: &[503], title: "The index is being rebuilt", advice: "Try again after `Retry-After`" },
    Code { code: "read-only", statuses: &[503], title: "Writing has stopped after an I/O error", advice: "Look into the log, mend the disk, restart; reads go on" },
    Code { code: "data-damaged", statuses: &[500, 503], title: "Stored data is damaged", advice: "Publish the same bytes again, which heals it; see `larder verify`" },
    Code { code: "collection-failed", statuses: &[503], title: "A collection pass has failed", advice: "See the detail and the log" },
    Code { code: "configuration-refused", statuses: &[422], title: "The configuration cannot be used", advice: "The message names each mistake and its place; everything stays as it was" },
    Code { code: "internal", statuses: &[500], title: "The server failed", advice: "The cause is in the log only; after a PUT, ask whether the file is there" },
    // Accounts and tokens.
    Code { code: "name-taken", statuses: &[422], title: "An account of this name exists", advice: "Names are the same in any ASCII case" },
    Code { code: "bad-name", statuses: &[422], title: "Not a name for an account", advice: "1 to 40 letters and digits, with single `-`, `_` or `.` between them" },
    Code { code: "bad-password", statuses: &[422], title: "Not a password that can be set", advice: "8 to 256 characters" },
    Code { code: "bad-email", statuses: &[422], title: "Not an e-mail address", advice: "`name@domain` in ASCII, at most 254 bytes" },
    Code { code: "bad-scopes", statuses: &[400], title: "No scopes, or unknown ones", advice: "`read:package`, `write:package`, `all`, `admin`, `public-only`" },
    Code { code: "bad-grants", statuses: &[400], title: "Not what a token can be narrowed to", advice: "`owner/package`, each a name or a glob" },
    Code { code: "bad-token-name", statuses: &[422], title: "Not a name for a token", advice: "1 to 255 bytes, no control characters" },
    Code { code: "token-name-taken", statuses: &[400], title: "The account has a token of this name", advice: "Take another name, or revoke that one" },
    Code { code: "expires-in-the-past", statuses: &[422], title: "The token would have expired already", advice: "Give a later time" },
    Code { code: "last-admin", statuses: &[422], title: "The server would have no admin", advice: "Make another active admin first" },
    Code { code: "has-packages", statuses: &[422], title: "The account still owns packages", advice: "Remove them first, or add `?purge=true`" },
    Code { code: "no-such-member", statuses: &[404], title: "The user is not a member", advice: "See the members of the organisation" },
    Code { code: "no-such-user", statuses: &[404], title: "There is no such user", advice: "Check the name" },
    Code { code: "no-such-token", statuses: &[404], title: "The user has no such token", advice: "Give its id or its name" },
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_documentation_lists_them_all() {
        let document = include_str!("../../docs/errors.md");
        let (_, table) = document.split_once("| Code |").unwrap();
        let documented: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
        let rows = CODES.iter().map(|known| {
            let statuses: Vec<String> = known.statuses.iter().map(u16::to_string).collect();
            let Code {
                code, title, advice, ..
            } = known;
            format!("| `{code}` | {} | {title} | {advice} |", statuses.join(", "))
        });
        let rows: Vec<String> = rows.collect();
        assert_eq!(
            documented,
            rows,
            "docs/errors.md should have:\n{}",
            rows.join("\n")
        );
    }

    #[test]
    fn each_has_one_meaning() {
        let names: BTreeSet<&str> = CODES.iter().map(|known| known.code).collect();
        assert_eq!(names.len(), CODES.len());
        let titles: BTreeSet<&str> = CODES.iter().map(|known| known.title).collect();
        assert_eq!(titles.len(), CODES.len());
    }

    /// The first text in each call that makes a refusal, and the codes that errors of accounts have.
    #[test]
    fn what_the_sources_say_is_among_them() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let is_code = |text: &str| text.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase());
        let mut said = BTreeSet::new();
        for (directory, before) in [
            ("http", "Refusal::new("),
            ("http", "        Self::new("),
            ("http", "bad_request("),
            ("http", "unavailable("),
            ("access", "=> "),
        ] {
            for entry in fs::read_dir(sources.join(directory)).unwrap() {
                let text = fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
                let code = text.split("#[cfg(test)]").next().unwrap();
                let calls = code.split(before).skip(1);
                let calls = calls.filter(|call| directory == "http" || call.starts_with('"'));
                let first = calls.filter_map(|call| call.split(';').next()?.split('"').nth(1));
                said.extend(
                    first
                        .filter(|text| is_code(text) && text.contains('-'))
                        .map(str::to_owned),
                );
            }
        }
        assert!(said.len() > 30, "{said:?}");
        // These two become what their causes are.
        said.retain(|code| !["commit-failed", "store-failed"].contains(&code.as_str()));
        let unknown: Vec<&String> = said.iter().filter(|code| find(code).is_none()).collect();
        assert!(unknown.is_empty(), "not in the list of codes: {unknown:?}");
    }
}
