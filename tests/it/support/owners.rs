//! What is set for owners, and what they hold, through the management API.

use serde_json::{Value, json};

use super::{Daemon, Request, Response, file_path};

/// What an owner holds: bytes, versions, files.
pub type Used = (u64, u64, u64);

impl Daemon {
    /// Sets something for an owner; the answer.
    pub fn set_owner(&self, owner: &str, fields: Value) -> Response {
        let target = format!("/api/v1/admin/owners/{owner}");
        let answer = self.as_admin(Request::new("PATCH", &target).json(&fields));
        assert_eq!(answer.status, 200, "set {fields} on {owner}: {}", answer.text());
        answer
    }

    /// What is set for an owner, what follows, and what it holds.
    pub fn owner(&self, owner: &str) -> Value {
        let answer = self.get(&format!("/api/v1/admin/owners/{owner}"));
        assert_eq!(answer.status, 200, "{owner}: {}", answer.text());
        answer.json()
    }

    /// What an owner holds, as the daemon counts it.
    pub fn used(&self, owner: &str) -> Used {
        let used = &self.owner(owner)["used"];
        let count = |what: &str| {
            used[what]
                .as_u64()
                .unwrap_or_else(|| panic!("no {what} in {used}"))
        };
        (count("bytes"), count("versions"), count("files"))
    }

    /// What an owner holds, counted anew from the lists of its versions and their files.
    pub fn recount(&self, owner: &str) -> Used {
        let list = |target: &str| {
            let answer = self.get(target);
            assert_eq!(answer.status, 200, "{target}: {}", answer.text());
            let total: u64 = answer
                .header("x-total-count")
                .expect("a total")
                .parse()
                .expect("a number");
            (answer.json().as_array().expect("a list").clone(), total)
        };
        let (mut bytes, mut versions, mut files) = (0, 0, 0);
        for page in 1.. {
            let (items, total) = list(&format!("/api/v1/packages/{owner}?limit=50&page={page}"));
            for item in &items {
                versions += 1;
                let name = item["name"].as_str().expect("a name");
                let version = item["version"].as_str().expect("a version");
                let target = format!("/api/v1/packages/{owner}/generic/{name}/{version}/files?limit=50");
                let (found, total) = list(&target);
                assert_eq!(found.len() as u64, total, "these tests keep to one page of files");
                files += total;
                bytes += found
                    .iter()
                    .map(|file| file["size"].as_u64().expect("a size"))
                    .sum::<u64>();
            }
            if items.is_empty() {
                assert_eq!(total, versions, "versions of {owner}");
                break;
            }
        }
        (bytes, versions, files)
    }

    /// Fails unless a file of `owner` is absent, and so is its version.
    #[track_caller]
    pub fn assert_nothing_of(&self, owner: &str, package: &str, version: &str) {
        self.assert_absent(&file_path(owner, package, version, "f"));
        let target = format!("/api/v1/packages/{owner}/generic/{package}/{version}");
        assert_eq!(self.get(&target).status, 404, "{target} is visible");
    }

    /// The policies set on an owner, in the form of PATCH.
    pub fn set_policy(&self, owner: &str, policy: &str) {
        self.set_owner(owner, json!({"policy": policy}));
    }
}
