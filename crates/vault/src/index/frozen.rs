//! Index documents of other times and programs, frozen in `testdata/formats/index-2` and never
//! edited: what was once written is read for ever, whichever way through it is taken.

use std::path::Path;

use super::{IndexFile, Layout, read_usual};
use crate::id::Id;

/// Blobs, packs, replaced objects, packs about to be deleted; whether the quick way takes it.
const DOCUMENTS: [(&str, [usize; 4], bool); 6] = [
    ("empty.json", [0, 0, 0, 0], true),
    ("restic-0.14-superseding.json", [1, 1, 2, 0], true),
    ("restic-0.14.json", [3, 2, 0, 0], true),
    ("restic-format-1.json", [2, 1, 0, 0], true),
    ("rustic.json", [1, 1, 0, 1], false),
    ("specification.json", [2, 1, 1, 0], false),
];

#[test]
fn every_frozen_index_is_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/formats/index-2");
    let names = std::fs::read_dir(&folder).unwrap();
    let mut names: Vec<String> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, DOCUMENTS.map(|(name, ..)| name));
    for (name, counts, quick) in DOCUMENTS {
        let json = std::fs::read(folder.join(name)).unwrap();
        let file = IndexFile::parse(&json).unwrap();
        let supersedes = file.supersedes.clone().unwrap_or_default();
        let found =
            [file.blob_count(), file.packs.len(), supersedes.len(), file.packs_to_delete.len()];
        assert_eq!(found, counts, "{name}");
        let first = file.packs.first().and_then(|pack| pack.blobs.first());
        assert_eq!(first.map(|blob| blob.id), (counts[0] > 0).then(|| Id::of(b"a")), "{name}");
        match read_usual(&json[..], 1 << 20).unwrap() {
            Layout::Usual { builder, supersedes: names } => {
                assert!(quick, "{name}");
                assert_eq!(names, supersedes, "{name}");
                let blobs: usize = builder.entries.iter().map(Vec::len).sum();
                assert_eq!([blobs, builder.packs.len()], counts[..2], "{name}");
            }
            Layout::Other => assert!(!quick, "{name}"),
        }
    }
}
