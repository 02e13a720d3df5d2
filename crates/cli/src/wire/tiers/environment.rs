//! The variables by which other plans say where their copies go. They are read for a tier with
//! `from_env = true`, and for no other: a stray variable moves no backup.
//!
//! `OFFSITE_STORAGE_TYPE` decides. Without it exactly one of the places may be named; two are a
//! contradiction. A comment behind a value (` # …`) is no part of it: the environment files of
//! systemd keep it there.

use std::path::Path;

use lifeboat_adapters::store::cloud::{Service, without_comment};
use lifeboat_model::plan::paths;

use super::Where;
use crate::fault::{Fault, Outcome};

/// Values of `OFFSITE_STORAGE_TYPE`.
const TYPES: &str = "s3, gcs, azure, local or none";

/// A kind of place: its word, its scheme, the variables of bucket and prefix.
struct Kind {
    word: &'static str,
    cloud: Option<(Service, &'static str)>,
    bucket: &'static str,
    prefix: Option<&'static str>,
}

const KINDS: [Kind; 4] = [
    Kind {
        word: "s3",
        cloud: Some((Service::S3, "s3")),
        bucket: "S3_BACKUP_BUCKET",
        prefix: Some("S3_BACKUP_PREFIX"),
    },
    Kind {
        word: "gcs",
        cloud: Some((Service::Google, "gs")),
        bucket: "GCS_BACKUP_BUCKET",
        prefix: Some("GCS_BACKUP_PREFIX"),
    },
    Kind {
        word: "azure",
        cloud: Some((Service::Azure, "az")),
        bucket: "AZURE_BACKUP_CONTAINER",
        prefix: None,
    },
    Kind { word: "local", cloud: None, bucket: "BACKUP_DIR", prefix: None },
];

/// A variable's value without a comment; an empty one is not set.
pub(super) fn value(get: &dyn Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    let value = without_comment(&get(name)?).to_owned();
    (!value.is_empty()).then_some(value)
}

/// Where the variables say that the copies of a tier go.
///
/// # Errors
/// Exit 2: nothing is named, or more than one place, or a kind without its bucket.
pub(super) fn place(
    tier: &str,
    base: &Path,
    get: &dyn Fn(&str) -> Option<String>,
) -> Outcome<Where> {
    let kind = match value(get, "OFFSITE_STORAGE_TYPE") {
        Some(word) => named(tier, &word)?,
        None => only(tier, get)?,
    };
    let bucket = value(get, kind.bucket).ok_or_else(|| {
        let (word, variable) = (kind.word, kind.bucket);
        Fault::usage(format!(
            "tier {tier}: storage of type {word} is chosen, and {variable} is not set"
        ))
        .hint(format!("export {variable}"))
    })?;
    let Some((service, scheme)) = kind.cloud else {
        return Ok(Where::Folder(paths::resolve(base, &bucket)));
    };
    let prefix = kind.prefix.and_then(|name| value(get, name)).unwrap_or_default();
    let prefix = prefix.trim_matches('/').to_owned();
    let place = match prefix.as_str() {
        "" => format!("{scheme}://{bucket}"),
        prefix => format!("{scheme}://{bucket}/{prefix}"),
    };
    Ok(Where::Cloud { service, bucket, prefix, place })
}

fn named(tier: &str, word: &str) -> Outcome<&'static Kind> {
    if word == "none" {
        return Err(Fault::usage(format!(
            "tier {tier}: OFFSITE_STORAGE_TYPE is none, so that no copy leaves this machine"
        ))
        .hint(format!("choose s3, gcs, azure or local, or take [tier.{tier}] out of the plan")));
    }
    KINDS.iter().find(|kind| kind.word == word).ok_or_else(|| {
        Fault::usage(format!("tier {tier}: OFFSITE_STORAGE_TYPE is {word}, which is no type"))
            .hint(format!("it is one of {TYPES}"))
    })
}

fn only(tier: &str, get: &dyn Fn(&str) -> Option<String>) -> Outcome<&'static Kind> {
    let set: Vec<&Kind> = KINDS.iter().filter(|kind| value(get, kind.bucket).is_some()).collect();
    match set[..] {
        [kind] => Ok(kind),
        [] => Err(Fault::usage(format!("tier {tier}: no variable says where its copies go"))
            .hint("export OFFSITE_STORAGE_TYPE and the variables of that type")),
        _ => {
            let names: Vec<&str> = set.iter().map(|kind| kind.bucket).collect();
            Err(Fault::usage(format!("tier {tier}: {} contradict each other", names.join(" and ")))
                .hint(format!("say which counts: OFFSITE_STORAGE_TYPE is one of {TYPES}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Result<String, String> {
        let get = |name: &str| {
            let found = variables.iter().find(|(set, _)| *set == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        match place("offsite", Path::new("/srv/app"), &get) {
            Ok(Where::Folder(path)) => Ok(path.display().to_string()),
            Ok(Where::Cloud { place, .. }) => Ok(place),
            Err(fault) => Err(fault.message),
        }
    }

    /// EDO-42 to EDO-46.
    #[test]
    fn the_type_decides_where_copies_go() {
        let all = [
            ("S3_BACKUP_BUCKET", "shop"),
            ("S3_BACKUP_PREFIX", "backups/"),
            ("GCS_BACKUP_BUCKET", "shop-gcs"),
            ("AZURE_BACKUP_CONTAINER", "backups   # of the shop"),
            ("BACKUP_DIR", "backups"),
        ];
        for (word, place) in [
            ("s3", "s3://shop/backups"),
            ("gcs", "gs://shop-gcs"),
            ("azure # not s3", "az://backups"),
            ("local", "/srv/app/backups"),
        ] {
            let mut variables = all.to_vec();
            variables.push(("OFFSITE_STORAGE_TYPE", word));
            assert_eq!(found(&variables).unwrap(), place);
        }
    }

    ///
    #[test]
    fn what_is_missing_or_contradicts_itself_is_said() {
        let wrong = |variables: &[(&str, &str)]| found(variables).unwrap_err();
        assert!(wrong(&[]).contains("no variable says"));
        assert!(wrong(&[("OFFSITE_STORAGE_TYPE", "s3")]).contains("S3_BACKUP_BUCKET is not set"));
        assert!(wrong(&[("OFFSITE_STORAGE_TYPE", "ftp")]).contains("is ftp, which is no type"));
        assert!(wrong(&[("OFFSITE_STORAGE_TYPE", "none")]).contains("no copy leaves"));
        let two = [("S3_BACKUP_BUCKET", "a"), ("BACKUP_DIR", "b")];
        assert!(wrong(&two).contains("S3_BACKUP_BUCKET and BACKUP_DIR contradict"));
        assert_eq!(found(&[("S3_BACKUP_BUCKET", "a")]).unwrap(), "s3://a");
    }
}
