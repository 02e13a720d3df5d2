//! Manifests of released formats, frozen in `testdata/formats/` and never edited.

use std::path::Path;

use lifeboat_model::manifest::{Content, Manifest};

#[test]
fn frozen_manifests_are_read() {
    let formats = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/formats");
    let read = |format: u32, name: &str| -> (Manifest, serde_json::Value) {
        let text = std::fs::read(formats.join(format!("manifest-{format}")).join(name)).unwrap();
        (serde_json::from_slice(&text).unwrap(), serde_json::from_slice(&text).unwrap())
    };
    let (sqlite, stored) = read(1, "sqlite.json");
    assert_eq!((sqlite.format, sqlite.component.as_str()), (1, "orders"));
    let Content::Sqlite(content) = &sqlite.content else { panic!("{sqlite:?}") };
    assert_eq!(content.tables["orders"].rows, 2);
    assert_eq!(serde_json::to_value(&sqlite).unwrap(), stored, "nothing of it is dropped");

    let (files, stored) = read(1, "files.json");
    let Content::Files(content) = &files.content else { panic!("{files:?}") };
    assert_eq!((content.files, content.folders), (2, 1));
    assert_eq!(content.allocated, None);
    assert_eq!(serde_json::to_value(&files).unwrap(), stored);

    let (sparse, stored) = read(1, "files-sparse.json");
    let Content::Files(content) = &sparse.content else { panic!("{sparse:?}") };
    assert_eq!((content.bytes, content.allocated), (32_212_254_724, Some(4100)));
    assert_eq!(serde_json::to_value(&sparse).unwrap(), stored);

    let (sqlite, stored) = read(2, "sqlite.json");
    assert_eq!((sqlite.format, sqlite.component.as_str()), (2, "orders"));
    let Content::Sqlite(content) = &sqlite.content else { panic!("{sqlite:?}") };
    assert_eq!(content.tables["orders"].rows, 2);
    assert!(content.seen.is_some());
    assert_eq!(serde_json::to_value(&sqlite).unwrap(), stored);
    let (files, stored) = read(2, "files.json");
    let Content::Files(content) = &files.content else { panic!("{files:?}") };
    assert_eq!((files.format, content.files), (2, 1));
    assert_eq!(serde_json::to_value(&files).unwrap(), stored);

    let (sqlite, stored) = read(3, "sqlite.json");
    assert_eq!(sqlite.position.as_ref().map(|at| at.position.offset), Some(42));
    assert_eq!(serde_json::to_value(&sqlite).unwrap(), stored);
    let (postgres, stored) = read(3, "postgres.json");
    let Content::Postgres(content) = &postgres.content else { panic!("{postgres:?}") };
    assert_eq!(
        (content.server_version, content.timeline, content.tablespaces.len()),
        (150_018, 1, 1)
    );
    assert_eq!(serde_json::to_value(&postgres).unwrap(), stored);
}
