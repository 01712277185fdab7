//! Browse: what an owner has, page by page, from committed state.

use std::collections::{BinaryHeap, VecDeque};
use std::num::NonZeroUsize;

use super::{ArtifactError, Artifacts};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::model::{Account, Holder, Id, Package, Version};

/// Packages that are looked up at a time.
const PACKAGES_STEP: usize = 256;
/// Versions of one package that are looked up at a time.
const VERSIONS_STEP: usize = 32;
/// The same while the versions of one package are only counted off.
const SKIP_STEP: usize = 1024;

/// Which part of a list.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// The page; the first is 1.
    pub page: NonZeroUsize,
    /// Items on a page.
    pub limit: NonZeroUsize,
}

impl Window {
    /// How many items are before it.
    pub fn skip(self) -> usize {
        (self.page.get() - 1).saturating_mul(self.limit.get())
    }
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// How many there are on all pages.
    pub total: u64,
}

/// A version and what it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The package.
    pub package: Package,
    /// The version.
    pub version: Version,
}

impl Artifacts {
    /// The versions of all packages of an owner whose name contains `part` in any ASCII case, the last created first.
    /// The work grows with the number of packages, three keys for each, and with the number of versions before the page,
    /// not with those after it.
    pub async fn list(
        &self,
        owner: &Account,
        part: Option<String>,
        window: Window,
    ) -> Result<Page<Listed>, ArtifactError> {
        let (store, owner) = (self.store.clone(), owner.id);
        Ok(blocking(move || list(&store, owner, part, window)).await?)
    }

    /// The versions of a package, the last created first. The work grows with the number of versions before the page, a
    /// key for each, and not with those after it.
    ///
    /// # Errors
    /// `NoVersion` where there is no such package, or nothing is left of it.
    pub async fn list_versions(
        &self,
        owner: &Account,
        package: &str,
        window: Window,
    ) -> Result<Page<Listed>, ArtifactError> {
        let package = self.package(owner, package)?;
        let listed = match window.skip() > SKIP_STEP {
            false => page(&self.store, vec![package], window)?,
            true => {
                let store = self.store.clone();
                blocking(move || page(&store, vec![package], window)).await?
            }
        };
        match listed.total {
            0 => Err(ArtifactError::NoVersion),
            _ => Ok(listed),
        }
    }

    /// The version of a package that was created last.
    ///
    /// # Errors
    /// `NoVersion` where there is none.
    pub fn latest(&self, owner: &Account, package: &str) -> Result<Listed, ArtifactError> {
        let package = self.package(owner, package)?;
        let newest = self.store.newest_versions(package.id, None, 1)?.pop();
        let (_, name) = newest.ok_or(ArtifactError::NoVersion)?;
        self.find(package, &name)
    }

    /// A version by name.
    ///
    /// # Errors
    /// `NoVersion` where there is no such package or version.
    pub fn version(&self, owner: &Account, package: &str, version: &str) -> Result<Listed, ArtifactError> {
        let package = self.package(owner, package)?;
        self.find(package, version)
    }

    fn package(&self, owner: &Account, name: &str) -> Result<Package, ArtifactError> {
        let package = self.store.package(owner.id, name)?;
        package.ok_or(ArtifactError::NoVersion)
    }

    fn find(&self, package: Package, version: &str) -> Result<Listed, ArtifactError> {
        let version = self.store.version(&package, version)?;
        let version = version.ok_or(ArtifactError::NoVersion)?;
        Ok(Listed { package, version })
    }
}

fn list(store: &Store, owner: Id, part: Option<String>, window: Window) -> Result<Page<Listed>, StoreError> {
    let part = part.map(|part| part.to_ascii_lowercase());
    let wanted = |package: &Package| {
        let part = part.as_deref().unwrap_or_default();
        package.name.to_ascii_lowercase().contains(part)
    };
    let mut packages = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let step = store.packages(owner, after.as_deref(), PACKAGES_STEP)?;
        let Some(last) = step.last() else { break };
        after = Some(last.name.clone());
        packages.extend(step.into_iter().filter(wanted));
    }
    page(store, packages, window)
}

/// Runs what may take a while, so that other requests go on.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = actix_rt::task::spawn_blocking(work).await;
    done.map_err(|error| StoreError::Io(std::io::Error::other(error)))?
}

/// A page of the versions of some packages together.
fn page(store: &Store, packages: Vec<Package>, window: Window) -> Result<Page<Listed>, StoreError> {
    let mut total = 0;
    for package in &packages {
        total += store.totals(Holder::Package(package.id))?.versions;
    }
    let mut skip = window.skip();
    let mut items = Vec::new();
    if skip as u64 >= total {
        return Ok(Page { items, total });
    }
    let mut newest = Newest::of(store, packages, &mut skip)?;
    while items.len() < window.limit.get()
        && let Some((package, name)) = newest.next()?
    {
        match skip.checked_sub(1) {
            Some(left) => skip = left,
            // One that was removed since it was listed is left out.
            None => {
                let version = store.version(package, &name)?;
                items.extend(version.map(|version| Listed {
                    package: package.clone(),
                    version,
                }));
            }
        }
    }
    Ok(Page { items, total })
}

/// The versions of some packages together, the last created first.
struct Newest<'a> {
    store: &'a Store,
    sources: Vec<Source>,
    /// The id of the next version of each source, with the place of the source.
    next: BinaryHeap<(Id, usize)>,
}

impl<'a> Newest<'a> {
    /// Of one package, what is to be skipped is counted off at once, as far as that is cheaper.
    fn of(store: &'a Store, packages: Vec<Package>, skip: &mut usize) -> Result<Self, StoreError> {
        let mut sources: Vec<Source> = packages.into_iter().map(Source::new).collect();
        if let [source] = sources.as_mut_slice() {
            *skip -= source.skip(store, *skip)?;
        }
        let mut next = BinaryHeap::with_capacity(sources.len());
        for (at, source) in sources.iter_mut().enumerate() {
            next.extend(source.peek(store, 1)?.map(|version| (version, at)));
        }
        Ok(Newest { store, sources, next })
    }

    fn next(&mut self) -> Result<Option<(&Package, String)>, StoreError> {
        let Some((_, at)) = self.next.pop() else {
            return Ok(None);
        };
        let Some(source) = self.sources.get_mut(at) else {
            return Ok(None);
        };
        let Some((_, name)) = source.ready.pop_front() else {
            return Ok(None);
        };
        let following = source.peek(self.store, VERSIONS_STEP)?;
        self.next.extend(following.map(|version| (version, at)));
        Ok(Some((&source.package, name)))
    }
}

/// The versions of one package, the last created first, looked up as they are needed.
struct Source {
    package: Package,
    ready: VecDeque<(Id, String)>,
    before: Option<Id>,
}

impl Source {
    fn new(package: Package) -> Self {
        Source {
            package,
            ready: VecDeque::new(),
            before: None,
        }
    }

    /// Goes past whole steps of versions, together at most `most`; how many.
    fn skip(&mut self, store: &Store, most: usize) -> Result<usize, StoreError> {
        let mut skipped = 0;
        while most - skipped >= SKIP_STEP {
            let step = store.newest_versions(self.package.id, self.before, SKIP_STEP)?;
            self.before = step.last().map(|(id, _)| *id).or(self.before);
            skipped += step.len();
            if step.len() < SKIP_STEP {
                break;
            }
        }
        Ok(skipped)
    }

    /// The id of the next version; looks up to `step` of them up if none is at hand.
    fn peek(&mut self, store: &Store, step: usize) -> Result<Option<Id>, StoreError> {
        if self.ready.is_empty() {
            self.ready = store.newest_versions(self.package.id, self.before, step)?.into();
            self.before = self.ready.back().map(|(id, _)| *id).or(self.before);
        }
        Ok(self.ready.front().map(|(id, _)| *id))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::chunk::Digest;
    use crate::store::change::{Change, Expected, Publish};
    use crate::store::counts::Quota;
    use crate::store::model::{File, Shape};
    use crate::store::upload::{Content, NewBlob};
    use crate::store::{Options, Progress};

    struct Quiet;

    impl Progress for Quiet {
        fn replayed(&self, _done: u64, _total: u64) {}
    }

    /// The version `number` of a package, with a file.
    fn publication(store: &Store, package: &Expected<Package>, number: usize) -> Change {
        Change::Publish(Publish {
            owner: 1,
            package: package.clone(),
            version: Expected::Absent(Version {
                id: store.next_id(),
                name: number.to_string(),
                created: 0,
                creator: 1,
            }),
            file: File {
                id: store.next_id(),
                name: "f".to_owned(),
                blob: Digest::of(b""),
                size: 0,
                shape: Shape::Single,
                created: 0,
                creator: 1,
                sha256: None,
            },
            replaces: None,
            quota: Quota::default(),
            blob: Arc::new(NewBlob {
                digest: Digest::of(b""),
                size: 0,
                content: Content::Inline(Vec::new()),
            }),
        })
    }

    /// Versions by turns: two of each three in the first package.
    async fn filled(store: &Store, versions: usize) -> Vec<Package> {
        let new = |name: &str| {
            Expected::Absent(Package {
                id: store.next_id(),
                name: name.to_owned(),
                exact_case: false,
                created: 0,
            })
        };
        let mut packages = [new("a"), new("b")];
        let mut tickets = Vec::new();
        for number in 0..versions {
            let package = &mut packages[usize::from(number % 3 == 2)];
            tickets.push(store.commit(publication(store, package, number)));
            if let Expected::Absent(there) = package {
                *package = Expected::Present(there.clone());
            }
            if tickets.len() == 512 || number + 1 == versions {
                for ticket in tickets.drain(..) {
                    ticket.settled().await.unwrap();
                }
            }
        }
        packages
            .into_iter()
            .map(|package| match package {
                Expected::Present(there) | Expected::Absent(there) => there,
            })
            .collect()
    }

    #[tokio::test]
    async fn every_page_has_its_versions_however_deep_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(Options::at(dir.path().join("data")), &Quiet).unwrap();
        let versions = 2 * SKIP_STEP + 500;
        let packages = filled(&store, versions).await;
        let all: Vec<usize> = (0..versions).rev().collect();
        let first: Vec<usize> = all.iter().copied().filter(|number| number % 3 != 2).collect();
        for (packages, expected) in [(packages.clone(), all), (packages[..1].to_vec(), first)] {
            for (number, limit) in [
                (1, 30),
                (2, 7),
                (35, 30),
                (21, 50),
                (37, 50),
                (1024, 1),
                (1025, 1),
                (86, 30),
                (1000, 30),
            ] {
                let window = Window {
                    page: NonZeroUsize::new(number).unwrap(),
                    limit: NonZeroUsize::new(limit).unwrap(),
                };
                let found = page(&store, packages.clone(), window).unwrap();
                let names: Vec<usize> = found
                    .items
                    .iter()
                    .map(|item| item.version.name.parse().unwrap())
                    .collect();
                let part: Vec<usize> = expected.iter().copied().skip(window.skip()).take(limit).collect();
                assert_eq!(
                    (names, found.total),
                    (part, expected.len() as u64),
                    "page {number} of {limit}"
                );
            }
        }
        store.close();
    }
}
