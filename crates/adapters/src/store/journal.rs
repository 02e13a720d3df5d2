//! The right to remove objects of journals, and nothing else.

use std::io;
use std::sync::Arc;

use lifeboat_model::journal::{Name, PackName, WalKind, WalName, is_lineage};
use lifeboat_vault::{DeleteStore, StoreError, StoreErrorKind};

/// Deletes what a pruning of journals may delete.
#[derive(Clone)]
pub struct JournalDeleter {
    place: String,
    deleter: Arc<dyn DeleteStore>,
}

impl JournalDeleter {
    /// Of the tier at `place`.
    pub fn new(place: String, deleter: Arc<dyn DeleteStore>) -> JournalDeleter {
        JournalDeleter { place, deleter }
    }
}

/// `journal/COMPONENT/LINEAGE/ranges/NAME`, `…/packs/NAME` or `…/wal/NAME`, but for histories.
fn is_journal(key: &str) -> bool {
    let parts: Vec<&str> = key.split('/').collect();
    match parts[..] {
        ["journal", component, lineage, kind, name] => {
            let named = match kind {
                "ranges" => name.parse::<Name>().is_ok(),
                "packs" => name.parse::<PackName>().is_ok(),
                "wal" => name.parse().is_ok_and(|name: WalName| name.kind != WalKind::History),
                _ => false,
            };
            named && is_lineage(lineage) && !component.starts_with('.')
        }
        _ => false,
    }
}

impl DeleteStore for JournalDeleter {
    fn delete(&self, key: &str) -> Result<(), StoreError> {
        if is_journal(key) {
            return self.deleter.delete(key);
        }
        Err(StoreError {
            kind: StoreErrorKind::Denied,
            verb: "delete",
            key: key.to_owned(),
            place: self.place.clone(),
            source: Some(Box::new(io::Error::other("only objects of journals go here"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use lifeboat_vault::Store;

    use super::super::LocalTier;
    use super::*;

    #[test]
    fn nothing_but_objects_of_journals_goes() {
        let tier = tempfile::tempdir().unwrap();
        let store = Arc::new(LocalTier::create(tier.path()).unwrap());
        let name = "00000001-0000000000000010-00000001";
        let range = format!("journal/orders/ab+2/ranges/{name}");
        let pack = format!("journal/orders/ab+2/packs/{name}-00000002");
        let others = [
            "journal/identity.age".to_owned(),
            "vault/config".to_owned(),
            format!("journal/orders/ab/other/{name}"),
            "journal/orders/ab/ranges/x".to_owned(),
            "journal/orders/ab/wal/00000002.history".to_owned(),
        ];
        let segment = "journal/orders/ab/wal/000000010000000000000001".to_owned();
        for key in others.iter().chain([&range, &pack, &segment]) {
            store.create(key, &[bytes::Bytes::from_static(b"x")]).unwrap();
        }
        let right = JournalDeleter::new(store.describe(), Arc::new(store.deleter()));
        for key in &others {
            assert_eq!(right.delete(key).unwrap_err().kind, StoreErrorKind::Denied, "{key}");
            assert!(store.stat(key).is_ok());
        }
        for key in [&range, &pack, &segment] {
            right.delete(key).unwrap();
            assert_eq!(store.stat(key).unwrap_err().kind, StoreErrorKind::NotFound);
        }
    }
}
