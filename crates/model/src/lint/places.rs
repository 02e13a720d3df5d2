//! Rules about paths: keys, tiers, components and local state that lie in one another.

use std::path::{Path, PathBuf};

use super::{Context, Found, Rule};
use crate::manifest;
use crate::plan::{SecretSource, paths};
use crate::recipe::CaptureRoot;
use crate::span::Span;

pub(super) const KEY_IN_COMPONENT: Rule = Rule {
    code: "LB001",
    title: "key file inside a component",
    explanation: "A key that is stored in what it encrypts is lost together with it, and whoever \
        reads one restored copy has the key to all. Move the key file out of the component's paths \
        or exclude it, and keep a second copy of the key somewhere else.",
    check: key_in_component,
};

pub(super) const KEY_IN_TIER: Rule = Rule {
    code: "LB002",
    title: "key file inside a tier",
    explanation: "Whoever gets hold of the tier then has the copies and the key, and whoever loses \
        the tier loses both. Keep the key file apart from every tier.",
    check: key_in_tier,
};

pub(super) const TIER_IN_COMPONENT: Rule = Rule {
    code: "LB003",
    title: "tier inside a component",
    explanation: "A backup that captures the place where backups are stored swallows itself: each \
        one contains all before it. Move the tier elsewhere, or exclude it.",
    check: tier_in_component,
};

pub(super) const COMPONENT_IN_TIER: Rule = Rule {
    code: "LB004",
    title: "component inside a tier",
    explanation: "Live data and its copies then share a folder, a disk and their fate, and pruning \
        or a check may meet files that are not a vault's. Give the tier a folder of its own.",
    check: component_in_tier,
};

pub(super) const SAME_TREE_PATH: Rule = Rule {
    code: "LB012",
    title: "two paths at one place of a snapshot",
    explanation: "A relative path keeps its relative place in the snapshot, an absolute one drops \
        its leading slash. Two paths that land on the same place would overwrite each other, so \
        the component cannot be backed up. Put them into two components.",
    check: same_tree_path,
};

pub(super) const MANIFEST_PATH: Rule = Rule {
    code: "LB013",
    title: "a path at the manifest's place",
    explanation: "`/manifest.json` at the root of each snapshot is what the capture contained, \
        written by Lifeboat. A captured path cannot stand there. Capture the folder around it.",
    check: manifest_path,
};

pub(super) const DATABASE_IN_FILES: Rule = Rule {
    code: "LB015",
    title: "live database captured as plain files",
    explanation: "A database file that is copied while it is written to is torn, and the recent \
        commits in its `-wal` file are missing or do not fit. It has a component of its own, so \
        exclude it (and its `-wal` and `-shm`) from the files component.",
    check: database_in_files,
};

pub(super) const STATE_IN_COMPONENT: Rule = Rule {
    code: "LB018",
    title: "local state inside a component",
    explanation: "The local state holds the host's signing key, and sandboxes in which drills \
        restore copies. Exclude it from the component, or put it elsewhere with `plan.state`.",
    check: state_in_component,
};

pub(super) const SAME_SOURCE: Rule = Rule {
    code: "LB020",
    title: "one database in two components",
    explanation: "Both would be captured and restored over each other. Keep one of them.",
    check: same_source,
};

pub(super) const NESTED_TIERS: Rule = Rule {
    code: "LB023",
    title: "tiers inside one another",
    explanation: "Two tiers in one place are one copy, not two, and their stored objects mix. Give \
        each tier its own place, best on another disk or machine.",
    check: nested_tiers,
};

pub(super) const SANDBOX_PLACE: Rule = Rule {
    code: "LB025",
    title: "sandbox of a drill among what it must not touch",
    explanation: "A drill fills its sandbox with copies of everything and removes it. Inside live \
        data it would be captured, inside a tier it would be taken for copies, and around them a \
        mistake costs both; the drill is refused. Give the sandbox a folder of its own.",
    check: sandbox_place,
};

/// Files that hold secrets, with their place in the plan.
fn key_files(context: &Context<'_>) -> Vec<(PathBuf, Span, &'static str)> {
    let key = &context.plan.key;
    let mut files = Vec::new();
    let sources = [
        (&key.vault_file, Some(key.vault()), "vault key"),
        (&key.identity_file, key.identity(), "identity"),
    ];
    for (written, source, what) in sources {
        if let (Some(written), Some(SecretSource::File(path))) = (written, source) {
            files.push((context.path(path), written.span(), what));
        }
    }
    for tier in context.plan.tier.values() {
        if let Some(file) = &tier.credentials_file {
            files.push((context.path(file), file.span(), "tier's credentials"));
        }
    }
    files
}

fn key_in_component(context: &Context<'_>, found: &mut Found) {
    let captured = context.captured();
    for (path, span, what) in key_files(context) {
        for capture in captured.iter().filter(|capture| capture.takes(&path)) {
            found.error(
                span,
                format!("the {what} file lies inside component `{}`", capture.component),
                "move it out of the component's paths, or exclude it by name",
            );
            found.related(capture.span, "captured here");
        }
    }
}

fn key_in_tier(context: &Context<'_>, found: &mut Found) {
    for (path, span, what) in key_files(context) {
        for tier in context.local_tiers() {
            if paths::contains(&tier.path, &path) {
                found.error(
                    span,
                    format!("the {what} file lies inside tier `{}`", tier.name),
                    "keep keys apart from the copies that they open",
                );
                found.related(tier.span, "the tier");
            }
        }
    }
}

fn tier_in_component(context: &Context<'_>, found: &mut Found) {
    let captured = context.captured();
    for tier in context.local_tiers() {
        for capture in captured.iter().filter(|capture| capture.takes(&tier.path)) {
            found.error(
                tier.span,
                format!("tier `{}` lies inside component `{}`", tier.name, capture.component),
                "a backup must not capture itself: move the tier, or exclude its folder",
            );
            found.related(capture.span, "captured here");
        }
    }
}

fn component_in_tier(context: &Context<'_>, found: &mut Found) {
    for capture in context.captured() {
        for tier in context.local_tiers() {
            if paths::contains(&tier.path, &capture.path) && tier.path != capture.path {
                found.error(
                    capture.span,
                    format!("component `{}` lies inside tier `{}`", capture.component, tier.name),
                    "give the tier a folder of its own",
                );
                found.related(tier.span, "the tier");
            }
        }
    }
}

/// Where each path of a files component would stand.
fn trees(context: &Context<'_>) -> Vec<(String, CaptureRoot, Span)> {
    let mut all = Vec::new();
    for capture in context.captured().into_iter().filter(|capture| capture.files.is_some()) {
        let tree = paths::tree_path(&context.base, &capture.path);
        let root = CaptureRoot { source: capture.path, tree };
        all.push((capture.component.to_owned(), root, capture.span));
    }
    all
}

fn same_tree_path(context: &Context<'_>, found: &mut Found) {
    let all = trees(context);
    for (index, (component, root, span)) in all.iter().enumerate() {
        let earlier = all[..index].iter().find(|(other, earlier, _)| {
            other == component && (earlier.tree == root.tree || earlier.source == root.source)
        });
        let Some((_, earlier, first)) = earlier else { continue };
        if earlier.source == root.source {
            let message =
                format!("component `{component}` names `{}` twice", root.source.display());
            found.warning(*span, message, "remove one");
        } else {
            let place = root.tree.display();
            let message = format!("two paths of component `{component}` would stand at `{place}`");
            found.error(*span, message, "put them into two components");
        }
        found.related(*first, "the other one");
    }
}

fn manifest_path(context: &Context<'_>, found: &mut Found) {
    for (component, root, span) in trees(context) {
        if root.tree == Path::new("/").join(manifest::NAME) {
            found.error(
                span,
                format!("a path of component `{component}` would stand at `/{}`", manifest::NAME),
                "capture the folder around it, or rename it",
            );
        }
    }
}

fn database_in_files(context: &Context<'_>, found: &mut Found) {
    let captured = context.captured();
    for database in captured.iter().filter(|capture| capture.files.is_none()) {
        for tree in captured.iter().filter(|capture| capture.files.is_some()) {
            if tree.takes(&database.path) {
                let name = database.path.file_name().unwrap_or_default().display();
                found.warning(
                    tree.span,
                    format!(
                        "the live database of component `{}` is also captured as plain files by \
                         `{}`",
                        database.component, tree.component
                    ),
                    &format!("add `exclude = [\"{name}\", \"{name}-wal\", \"{name}-shm\"]`"),
                );
                found.related(database.span, "the database");
            }
        }
    }
}

fn state_in_component(context: &Context<'_>, found: &mut Found) {
    for capture in context.captured().iter().filter(|capture| capture.takes(&context.state)) {
        found.warning(
            capture.span,
            format!("component `{}` captures the local state", capture.component),
            "add `exclude = [\".lifeboat\"]`, or set `plan.state` to another folder",
        );
    }
}

fn same_source(context: &Context<'_>, found: &mut Found) {
    let all = context.captured();
    let databases: Vec<_> = all.iter().filter(|capture| capture.files.is_none()).collect();
    for (index, database) in databases.iter().enumerate() {
        if let Some(first) = databases[..index].iter().find(|other| other.path == database.path) {
            found.warning(
                database.span,
                format!(
                    "components `{}` and `{}` are the same database",
                    first.component, database.component
                ),
                "keep one of them",
            );
            found.related(first.span, "the other one");
        }
    }
}

fn sandbox_place(context: &Context<'_>, found: &mut Found) {
    let mut places: Vec<(PathBuf, String, Option<Span>)> = Vec::new();
    for capture in context.captured() {
        let what = format!("the data of component `{}`", capture.component);
        places.push((capture.path, what, Some(capture.span)));
    }
    for tier in context.local_tiers() {
        places.push((tier.path, format!("tier `{}`", tier.name), Some(tier.span)));
    }
    for (path, span, what) in key_files(context) {
        places.push((path, format!("the {what} file"), Some(span)));
    }
    places.push((context.state.clone(), "the local state".to_owned(), None));
    let own = context.state.join("sandbox");
    for (name, drill) in &context.plan.drill {
        let Some(written) = &drill.sandbox else { continue };
        let sandbox = context.path(written);
        if paths::contains(&own, &sandbox) {
            continue;
        }
        for (place, what, span) in &places {
            let message = if paths::contains(place, &sandbox) {
                format!("the sandbox of drill `{name}` lies inside {what}")
            } else if paths::contains(&sandbox, place) {
                format!("{what} lies inside the sandbox of drill `{name}`")
            } else {
                continue;
            };
            found.error(written.span(), message, "give the sandbox a folder of its own");
            if let Some(span) = span {
                found.related(*span, "it is here");
            }
        }
    }
}

fn nested_tiers(context: &Context<'_>, found: &mut Found) {
    let tiers = context.local_tiers();
    for (index, tier) in tiers.iter().enumerate() {
        for other in &tiers[..index] {
            let nested = paths::contains(&tier.path, &other.path)
                || paths::contains(&other.path, &tier.path);
            if nested {
                found.error(
                    tier.span,
                    format!("tiers `{}` and `{}` lie in one another", other.name, tier.name),
                    "give each its own place",
                );
                found.related(other.span, "the other one");
            }
        }
    }
    // Local state inside a tier is a tier inside local state, seen from the other side.
    for tier in &tiers {
        if paths::contains(&tier.path, &context.state) {
            found.error(
                tier.span,
                format!("the local state lies inside tier `{}`", tier.name),
                "give the tier a folder of its own, or set `plan.state`",
            );
        }
    }
}
