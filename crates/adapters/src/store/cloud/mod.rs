//! A tier in an object store: S3 and what speaks like it, Google Cloud Storage, Azure Blob; all on
//! `object_store`, behind the blocking [`Store`].
//!
//! Promises beyond those of [`Store`]:
//! - An object is created by one conditional request. What then cannot be believed as it is (a
//!   conflict, a broken connection, an error of the server) is looked at: the object that stands
//!   there decides (`create`).
//! - A create has succeeded when the store told a checksum of what it stored and it is the right
//!   one; where it tells none, when the object was read back (`sums`).
//! - A listing is whole or an error, and in order whatever the store's order is.
//! - Requests have limits of time that fit their size, broken ones are tried again a bounded number
//!   of times, and a refusal that waiting does not mend ends the call at once, with one sentence and
//!   a hint (`refusal`).
//! - Nothing is read from the environment: place and credentials are those that were given.
//! - A storage class is given to data packs of the vault and packed objects of the journal alone:
//!   everything else is read often.
//!
//! Times are whole seconds: that is what all of the services tell by every verb.

mod create;
mod place;
mod refusal;
mod service;
mod sums;
mod web;

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use jiff::Timestamp;
use lifeboat_vault::{Advice, Clock, DeleteStore, Entry, Store, StoreError, StoreErrorKind};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};

use super::error;
pub use place::CloudPlace;
pub use service::{AzureKey, CloudOptions, Credentials, Service, Unusable, without_comment};
use web::Heard;
pub use web::Patience;

/// An opened tier in an object store.
pub struct CloudTier {
    store: Arc<dyn ObjectStore>,
    /// Without slashes at its ends; empty for the whole bucket.
    prefix: String,
    bucket: String,
    region: String,
    storage_class: Option<String>,
    /// As the plan writes it.
    place: String,
    patience: Patience,
    clock: Arc<dyn Clock>,
}

impl CloudTier {
    /// Makes ready; nothing is asked yet.
    ///
    /// # Errors
    /// If the options do not fit together: nothing that waiting mends.
    pub fn new(options: &CloudOptions, clock: Arc<dyn Clock>) -> Result<CloudTier, Unusable> {
        Ok(CloudTier {
            store: service::build(options)?,
            prefix: options.prefix.trim_matches('/').to_owned(),
            bucket: options.bucket.clone(),
            region: options.region().to_owned(),
            storage_class: options.storage_class.clone(),
            place: options.place.clone(),
            patience: options.patience,
            clock,
        })
    }

    /// The right to delete, for pruning only.
    pub fn deleter(self: &Arc<Self>) -> CloudDeleter {
        CloudDeleter(self.clone())
    }

    /// The path of a key in the bucket.
    fn location(&self, verb: &'static str, key: &str) -> Result<Path, StoreError> {
        let bad = || {
            let cause = io::Error::other("this is not a key of an object");
            error::new(StoreErrorKind::Other, verb, key, &self.place, cause)
        };
        let parsed = Path::parse(key).map_err(|_| bad())?;
        if parsed.as_ref() != key || key.is_empty() || key.contains(char::is_control) {
            return Err(bad());
        }
        Path::parse(self.below(key)).map_err(|_| bad())
    }

    fn below(&self, key: &str) -> String {
        match (self.prefix.as_str(), key) {
            ("", key) => key.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, key) => format!("{prefix}/{key}"),
        }
    }

    /// Runs one call; its failure is told by what the store answered.
    fn ask<T>(
        &self,
        verb: &'static str,
        key: &str,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, StoreError> {
        let (done, heard) = self.heard(verb, key, call)?;
        done.map_err(|source| self.failed(verb, key, source, &heard))
    }

    fn heard<T>(
        &self,
        verb: &'static str,
        key: &str,
        call: impl Future<Output = T>,
    ) -> Result<(T, Heard), StoreError> {
        web::run(call).map_err(|source| error::from_io(verb, key, &self.place, source))
    }

    /// The error of a call. The words of `object_store` repeat addresses and the whole answer: what
    /// the store answered is told instead, or the cause at the bottom.
    fn failed(
        &self,
        verb: &'static str,
        key: &str,
        source: object_store::Error,
        heard: &Heard,
    ) -> StoreError {
        if let Some(refusal) = &heard.refusal {
            let (kind, advice) = refusal.meaning(&self.bucket, &self.region);
            let source = advice.map(|advice| Box::new(advice) as _);
            return StoreError { source, ..self.error(kind, verb, key) };
        }
        let cause = bottom(&source);
        if heard.broke || broke_off(&source) {
            let times =
                if heard.tries > 1 { format!(" ({} tries)", heard.tries) } else { String::new() };
            let advice = Advice {
                what: format!("the store cannot be reached: {cause}{times}"),
                hint: "check the network and the tier's `url` and `endpoint`".to_owned(),
            };
            return error::new(StoreErrorKind::Unreachable, verb, key, &self.place, advice);
        }
        let kind = match source {
            object_store::Error::NotFound { .. } => StoreErrorKind::NotFound,
            _ => StoreErrorKind::Other,
        };
        error::new(kind, verb, key, &self.place, io::Error::other(cause))
    }

    fn error(&self, kind: StoreErrorKind, verb: &'static str, key: &str) -> StoreError {
        let (key, place) = (key.to_owned(), self.place.clone());
        StoreError { kind, verb, key, place, source: None }
    }

    fn short(&self, key: &str, wanted: u64, size: u64) -> StoreError {
        let cause = format!("it has {size} bytes where {wanted} were expected");
        let cause = io::Error::new(io::ErrorKind::UnexpectedEof, cause);
        error::new(StoreErrorKind::Short, "get", key, &self.place, cause)
    }

    /// An object as an entry, named by its key in the tier.
    fn entry(&self, verb: &'static str, key: &str, meta: &ObjectMeta) -> Result<Entry, StoreError> {
        let modified = Timestamp::from_second(meta.last_modified.timestamp())
            .map_err(|e| error::new(StoreErrorKind::Other, verb, key, &self.place, e))?;
        Ok(Entry { key: key.to_owned(), size: meta.size, modified })
    }

    fn read(&self, key: &str, range: Option<GetRange>) -> Result<(Bytes, u64), StoreError> {
        let location = self.location("get", key)?;
        let options = GetOptions { range, ..GetOptions::default() };
        self.ask("get", key, async {
            let found = self.store.get_opts(&location, options).await?;
            let size = found.meta.size;
            Ok((found.bytes().await?, size))
        })
    }

    /// What stands right below the root: names of objects and folders.
    fn names(&self) -> Result<Vec<String>, StoreError> {
        let path = match self.prefix.as_str() {
            "" => None,
            prefix => Some(
                Path::parse(prefix)
                    .map_err(|e| error::new(StoreErrorKind::Other, "list", "", &self.place, e))?,
            ),
        };
        let found = self.ask("list", "", self.store.list_with_delimiter(path.as_ref()))?;
        let objects = found.objects.iter().map(|meta| &meta.location);
        let names = found.common_prefixes.iter().chain(objects);
        let names = names.filter(|at| Some(*at) != path.as_ref()).filter_map(|at| at.filename());
        Ok(names.map(str::to_owned).collect())
    }

    /// The entries below a folder as the store tells them; those that only mark folders are left out.
    fn entries(&self, folder: &str) -> Result<Vec<Entry>, StoreError> {
        let below = self.below(folder);
        let path =
            match (folder, below.as_str()) {
                ("", "") => None,
                ("", root) => Some(Path::parse(root).map_err(|e| {
                    error::new(StoreErrorKind::Other, "list", folder, &self.place, e)
                })?),
                _ => Some(self.location("list", folder)?),
            };
        let found: Vec<ObjectMeta> =
            self.ask("list", folder, self.store.list(path.as_ref()).try_collect())?;
        let mut entries = Vec::with_capacity(found.len());
        for meta in &found {
            let whole = meta.location.as_ref();
            let key = match self.prefix.as_str() {
                "" => Some(whole),
                prefix => whole.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')),
            };
            // Nothing behind the prefix: the mark of the folder itself.
            if let Some(key) = key.filter(|key| !key.is_empty() && *key != folder) {
                entries.push(self.entry("list", key, meta)?);
            }
        }
        Ok(in_order(entries))
    }
}

impl Store for CloudTier {
    fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        let (body, size) = self.read(key, None)?;
        match body.len() as u64 == size {
            true => Ok(body),
            false => Err(self.short(key, size, body.len() as u64)),
        }
    }

    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        let end = offset.checked_add(len);
        let asked = end.filter(|_| len > 0);
        let failed = match asked.map(|end| self.read(key, Some(GetRange::Bounded(offset..end)))) {
            Some(Ok((body, _))) if body.len() as u64 == len => return Ok(body),
            Some(Ok((_, size))) => return Err(self.short(key, end.unwrap_or(u64::MAX), size)),
            Some(Err(error))
                if matches!(error.kind, StoreErrorKind::Short | StoreErrorKind::Other) =>
            {
                Some(error)
            }
            Some(Err(error)) => return Err(error),
            None => None,
        };
        // Nothing was asked for, more than can be, or the store refused the range: the size decides.
        let size = self.stat(key)?.size;
        match (end, failed) {
            (Some(end), None) if end <= size => Ok(Bytes::new()),
            (Some(end), Some(error)) if end <= size => Err(error),
            _ => Err(self.short(key, end.unwrap_or(u64::MAX), size)),
        }
    }

    fn create(&self, key: &str, parts: &[Bytes]) -> Result<(), StoreError> {
        self.create_once(key, parts)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.entries(prefix.trim_end_matches('/'))
    }

    fn stat(&self, key: &str) -> Result<Entry, StoreError> {
        let location = self.location("stat", key)?;
        match self.ask("stat", key, self.store.head(&location)) {
            Ok(meta) => self.entry("stat", key, &meta),
            Err(error) if error.kind == StoreErrorKind::Unreachable => Err(error),
            // The answer to this question has no body that says what is wrong: is the key missing or
            // the bucket, has the credential expired?
            Err(error) => {
                let options =
                    GetOptions { range: Some(GetRange::Bounded(0..1)), ..Default::default() };
                match self.ask("stat", key, self.store.get_opts(&location, options)) {
                    Err(why) if why.kind != StoreErrorKind::Short => Err(why),
                    _ => Err(error),
                }
            }
        }
    }

    fn describe(&self) -> String {
        self.place.clone()
    }
}

impl std::fmt::Debug for CloudTier {
    /// Without the client: it holds the credential.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CloudTier").field("place", &self.place).finish_non_exhaustive()
    }
}

/// The right to delete from a tier in an object store.
#[derive(Debug, Clone)]
pub struct CloudDeleter(Arc<CloudTier>);

impl DeleteStore for CloudDeleter {
    /// The services answer the deletion of a missing object in different ways: it is looked for
    /// first, and one that vanishes in between is as good as deleted.
    fn delete(&self, key: &str) -> Result<(), StoreError> {
        let tier = &self.0;
        let location = tier.location("delete", key)?;
        tier.stat(key).map_err(|error| StoreError { verb: "delete", ..error })?;
        match tier.ask("delete", key, tier.store.delete(&location)) {
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(()),
            done => done,
        }
    }
}

/// In key order, without empty objects that stand for folders (consoles make such).
fn in_order(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let folders: Vec<bool> = entries
        .iter()
        .map(|entry| {
            let below = format!("{}/", entry.key);
            let next = entries.partition_point(|other| other.key < below);
            entry.size == 0 && entries.get(next).is_some_and(|other| other.key.starts_with(&below))
        })
        .collect();
    let mut is_folder = folders.into_iter();
    entries.retain(|_| !is_folder.next().unwrap_or(false));
    entries.dedup_by(|a, b| a.key == b.key);
    entries
}

/// True if an answer began and did not come to its end.
fn broke_off(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<reqwest::Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What stands at the bottom of a chain of causes.
fn bottom(error: &dyn StdError) -> String {
    let mut cause = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_folders_are_no_objects() {
        let entry = |(key, size): (&str, u64)| Entry {
            key: key.to_owned(),
            size,
            modified: Timestamp::UNIX_EPOCH,
        };
        let found = [("b/c", 0), ("a", 0), ("b", 0), ("b-", 1), ("x", 0), ("c", 7), ("c/d", 1)];
        let kept = in_order(found.map(entry).to_vec());
        let keys: Vec<&str> = kept.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["a", "b-", "b/c", "c", "c/d", "x"]);
    }
}
