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
    /// The work grows with the number of packages and with the page, not with the number of versions.
    pub async fn list(
        &self,
        owner: &Account,
        part: Option<String>,
        window: Window,
    ) -> Result<Page<Listed>, ArtifactError> {
        let (store, owner) = (self.store.clone(), owner.id);
        let listing = actix_rt::task::spawn_blocking(move || list(&store, owner, part, window)).await;
        let listed = listing.map_err(|error| StoreError::Io(std::io::Error::other(error)))??;
        Ok(listed)
    }

    /// The versions of a package, the last created first.
    ///
    /// # Errors
    /// `NoVersion` where there is no such package.
    pub fn list_versions(
        &self,
        owner: &Account,
        package: &str,
        window: Window,
    ) -> Result<Page<Listed>, ArtifactError> {
        let package = self.package(owner, package)?;
        Ok(page(&self.store, vec![package], window)?)
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

/// A page of the versions of some packages together.
fn page(store: &Store, packages: Vec<Package>, window: Window) -> Result<Page<Listed>, StoreError> {
    let mut total = 0;
    let mut sources = Vec::with_capacity(packages.len());
    let mut newest = BinaryHeap::with_capacity(packages.len());
    for package in packages {
        total += store.totals(Holder::Package(package.id))?.versions;
        let mut source = Source::new(package);
        if let Some(version) = source.peek(store, 1)? {
            newest.push((version, sources.len()));
        }
        sources.push(source);
    }
    let (mut items, mut skip) = (Vec::new(), window.skip());
    while items.len() < window.limit.get()
        && let Some((_, at)) = newest.pop()
        && let Some(source) = sources.get_mut(at)
    {
        let Some((_, name)) = source.ready.pop_front() else {
            continue;
        };
        match skip.checked_sub(1) {
            Some(left) => skip = left,
            // One that was removed since it was listed is left out.
            None => {
                let version = store.version(&source.package, &name)?;
                items.extend(version.map(|version| Listed {
                    package: source.package.clone(),
                    version,
                }));
            }
        }
        if let Some(version) = source.peek(store, VERSIONS_STEP)? {
            newest.push((version, at));
        }
    }
    Ok(Page { items, total })
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

    /// The id of the next version; looks up to `step` of them up if none is at hand.
    fn peek(&mut self, store: &Store, step: usize) -> Result<Option<Id>, StoreError> {
        if self.ready.is_empty() {
            self.ready = store.newest_versions(self.package.id, self.before, step)?.into();
            self.before = self.ready.back().map(|(id, _)| *id).or(self.before);
        }
        Ok(self.ready.front().map(|(id, _)| *id))
    }
}
